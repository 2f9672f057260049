// Stands in for the matrix units of gemm-matrix.wgsl where an adapter has none: 32 neighbouring invocations hold a sum, 8 elements each.
alias Left = u32; // where it begins in tileA
alias Right = u32; // where it begins in tileB
alias Sum = array<f32, 8>;
var<private> laneHere: u32;

fn multiply(a: u32, b: u32, c: Sum) -> Sum {
  var sum = c;
  let steps = 16u * min(params.taps, 1u); // 16, but not known when compiling: unrolled, this takes lavapipe minutes
  for (var i = 0u; i < steps / 2u; i++) {
    for (var k = 0u; k < steps; k++) { sum[i] += f32(tileA[a + (laneHere / 2u) * 16u + k]) * f32(tileB[b + k * 128u + (laneHere % 2u) * 8u + i]); }
  }
  return sum;
}

fn keep(to: u32, c: Sum) {
  for (var i = 0u; i < 8u; i++) { staged[to + laneHere * 8u + i] = c[i]; }
}
