// Classifier-free guidance: y = u + scale * (c - u).
// x: [2 * half] = u (unconditional) then c (conditional), y: [half].
// Defines: VEC4 (half is a multiple of 4: an element is a vec4 and `half` counts vec4s).
struct Params { half: u32, scale: f32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read_write> y: array<Element>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.half) { return; }
  let u = x[index];
  y[index] = u + params.scale * (x[params.half + index] - u);
}
