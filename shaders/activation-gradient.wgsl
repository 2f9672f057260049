// dx = dy * derivative of an activation at x. One thread per vec4.
// Bindings: dy, x, dx: count vec4s each.
// Defines: ACTIVATIONS, the text of lib/activations.wgsl; DERIVATIVE, the name of one of its functions.

${ACTIVATIONS}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> dy: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * 256u + local;
  if (i >= params.count) { return; }
  dx[i] = dy[i] * ${DERIVATIVE}(x[i]);
}
