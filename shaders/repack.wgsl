// A stored weight [taps, inputs, outputs] from row by row to panels of 32 outputs, [taps, outputs / 32, inputs, 32], or back. One thread
// per vec4.
// Bindings: x, y: count vec4s each. Defines: PANELS (y is in panels, x row by row; otherwise the other way round).
// Params in vec4s: columns of a row.
struct Params { count: u32, inputs: u32, columns: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

const PANEL = 8u; // vec4s

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = (workgroup.x + workgroup.y * workgroups.x) * 256u + local;
  if (row >= params.count) { return; }
  let column = row % params.columns;
  let input = (row / params.columns) % params.inputs;
  let tap = row / (params.columns * params.inputs);
  let panelled = tap * params.columns * params.inputs + (column / PANEL * params.inputs + input) * PANEL + column % PANEL;
#if ${PANELS}
  y[panelled] = x[row];
#else
  y[row] = x[panelled];
#endif
}
