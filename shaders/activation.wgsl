// y = activation(x). One thread per vec4.
// Bindings: x, y: count vec4s each.
// Defines: ACTIVATIONS, the text of lib/activations.wgsl; ACTIVATION, the name of one of its functions.

${ACTIVATIONS}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * 256u + local;
  if (i >= params.count) { return; }
  y[i] = ${ACTIVATION}(x[i]);
}
