// y = min(max(x, low), high). x, y: any shape, as vec4s. Defines: none.
struct Params { vectors: u32, low: f32, high: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.vectors) { return; }
  y[index] = min(max(x[index], vec4f(params.low)), vec4f(params.high));
}
