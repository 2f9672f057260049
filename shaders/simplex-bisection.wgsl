// The reference attack's projection onto the simplex (TextGrad.bisection of Diffusion-MU-Attack): clip(a, 0, 1) when that sums to
// 1 within 1e-5; otherwise mu is bisected on [min(a) - 1, max(a)] until the bracket is at most 1e-5, and y = clip(a - mu, 0, 1) with the
// last midpoint, so that a row sums to 1 only within (number of positive entries) * 1e-5.
// a, y: [rows, columns]. One workgroup per row. Defines: LIBRARY (lib/workgroup-sum.wgsl).
// mu is searched relative to the maximum, where float32 is fine enough for a bracket of 1e-5 whatever the size of the elements.
struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const MAX_STEPS = 160u; // halvings from the largest float32 to 1e-5
const TOLERANCE = 1e-5;
${LIBRARY}

fn clippedSum(begin: u32, lane: u32, top: f32, mu: f32) -> f32 {
  var sum = 0.0;
  for (var block = lane; block < params.columns; block += 4096u) {
    var part = 0.0;
    for (var i = block; i < min(block + 4096u, params.columns); i += 256u) { part += clamp(a[begin + i] - top - mu, 0.0, 1.0); }
    sum += part;
  }
  return workgroupSum(vec2f(sum, 0.0), lane).x;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let begin = row * params.columns;
  var extent = vec2f(a[begin], -a[begin]);
  for (var i = lane; i < params.columns; i += 256u) { extent = max(extent, vec2f(a[begin + i], -a[begin + i])); }
  extent = workgroupMaximum(extent, lane);

  var top = 0.0;
  var mu = 0.0;
  if (abs(clippedSum(begin, lane, 0.0, 0.0) - 1.0) > TOLERANCE) {
    top = extent.x;
    var low = -extent.y - top - 1.0;
    var high = 0.0;
    for (var step = 0u; step < MAX_STEPS && high - low > TOLERANCE; step++) {
      mu = 0.5 * (low + high);
      let excess = clippedSum(begin, lane, top, mu) - 1.0;
      if (excess == 0.0) { break; }
      if (excess > 0.0) { low = mu; } else { high = mu; }
    }
  }
  for (var i = lane; i < params.columns; i += 256u) {
    y[begin + i] = clamp(a[begin + i] - top - mu, 0.0, 1.0);
  }
}
