// Stands in for the matrix units of gemm-matrix.wgsl where an adapter has none: LANES neighbouring invocations hold a sum, M * N / LANES
// elements each.
alias Left = u32; // where it begins in tileA
alias Right = u32; // where it begins in tileB
alias Sum = array<f32, M * N / LANES>;
var<private> laneHere: u32;

fn left(begin: u32) -> Left { return begin; }
fn right(begin: u32) -> Right { return begin; }
fn elementOfA(i: u32) -> f32 { return f32(tileA[i / 4u][i % 4u]); }
fn elementOfB(i: u32) -> f32 { return f32(tileB[i / 4u][i % 4u]); }

fn multiply(a: Left, b: Right, c: Sum) -> Sum {
  var sum = c;
  let steps = K * min(params.taps, 1u); // K, but not known when compiling: unrolled, this takes lavapipe minutes
  let each = (M * N / LANES) * min(params.taps, 1u);
  for (var i = 0u; i < each; i++) {
    let e = laneHere * each + i;
    for (var k = 0u; k < steps; k++) {
#if ${BLOCKS}
      sum[i] += elementOfA(a + (e / N) * ROW_A + k) * elementOfB(b + (e % N) * ROW_B + k);
#else
      sum[i] += elementOfA(a + (e / N) * ROW_A + k) * elementOfB(b + k * ROW_B + e % N);
#endif
    }
  }
  return sum;
}

fn stage(to: u32, c: Sum) {
  let each = (M * N / LANES) * min(params.taps, 1u);
  for (var i = 0u; i < each; i++) {
    let e = laneHere * each + i;
    let at = to + (e / N) * STAGED_ROW + e % N;
    staged[at / 4u][at % 4u] = c[i];
  }
}
