// y[t, :] = sum of x[i, :] over the i with ids[i] = t. No atomics: each output searches the (short) list of ids.
// x: [count, width], ids: [count], y: [rows, width], row-major.
// Defines: VEC4 (the row length is a multiple of 4: `width` counts vec4s).
struct Params { elements: u32, width: u32, count: u32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Element>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  let row = index / params.width;
  let column = index % params.width;
  var sum = Element();
  for (var i = 0u; i < params.count; i++) {
    if (ids[i] == row) { sum += x[i * params.width + column]; }
  }
  y[index] = sum;
}
