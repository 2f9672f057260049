// Euclidean projection of each row onto the probability simplex: y = max(a - mu, 0) with mu such that the row sums to 1.
// a, y: [rows, columns]. One workgroup per row. Defines: LIBRARY (lib/workgroup-sum.wgsl).
//
// mu is the root of f(mu) = sum max(a - mu, 0) - 1, convex and piecewise linear, found by Newton's method from the left
// (Michelot 1986; Condat 2016, "Fast projection onto the simplex and the l1 ball"). With n the size of the support each
// step shrinks f * n at least four times (f'/f + n'/n <= 1 for convex f), hence the bound on the number of steps.
// Precision: rows are taken relative to their maximum (exact for the elements near mu), and mu is kept as pivot + offset,
// 12 + 24 bits, since with thousands of elements in the support one float32 is too coarse for a sum of 1 +- 1e-6.
struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const MAX_STEPS = 64u;
${LIBRARY}

// Sum of the positive parts and their number, in blocks of 8 whose sums are added with compensation (where the compiler keeps it).
fn excess(begin: u32, lane: u32, top: f32, pivot: f32, offset: f32) -> vec2f {
  var sum = 0.0;
  var lost = 0.0;
  var count = 0.0;
  for (var block = lane; block < params.columns; block += 2048u) {
    var part = 0.0;
    for (var i = block; i < min(block + 2048u, params.columns); i += 256u) {
      let above = (a[begin + i] - top - pivot) - offset;
      if (above > 0.0) {
        part += above;
        count += 1.0;
      }
    }
    let term = part - lost;
    let next = sum + term;
    lost = (next - sum) - term;
    sum = next;
  }
  return vec2f(sum, count);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let begin = row * params.columns;
  var top = a[begin];
  for (var i = lane; i < params.columns; i += 256u) { top = max(top, a[begin + i]); }
  top = workgroupMaximum(vec2f(top), lane).x;

  var pivot = -1.0; // f(maximum - 1) >= 0: to the left of the root
  var offset = 0.0;
  for (var step = 0u; step < MAX_STEPS; step++) {
    let state = workgroupSum(excess(begin, lane, top, pivot, offset), lane);
    let shifted = offset + (state.x - 1.0) / max(state.y, 1.0);
    // The pivot keeps 12 bits of its mantissa: what it drops goes into the offset, exactly.
    let next = bitcast<f32>(bitcast<u32>(pivot + shifted) & 0xfffff000u);
    offset = (pivot - next) + shifted;
    pivot = next;
    if (abs(state.x - 1.0) <= 3e-7) { break; }
  }
  for (var i = lane; i < params.columns; i += 256u) {
    y[begin + i] = max((a[begin + i] - top - pivot) - offset, 0.0);
  }
}
