// Swaps the last two dimensions: y[b, c, r] = x[b, r, c].
// x: [batch, rows, columns], y: [batch, columns, rows], row-major. Defines: none.
struct Params { elements: u32, rows: u32, columns: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  let row = index % params.rows;
  let rest = index / params.rows;
  let column = rest % params.columns;
  let batch = rest / params.columns;
  y[index] = x[(batch * params.rows + row) * params.columns + column];
}
