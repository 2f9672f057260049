// A thread for each of `params.count` elements, vec4s or whatever the includer takes at once. It has struct Params, whose uniform is bound
// here, and computes one in `fn element(i: u32)`. Defines: THREADS of a workgroup.
@group(0) @binding(15) var<uniform> params: Params;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * ${THREADS}u + local;
  if (i < params.count) { element(i); }
}
