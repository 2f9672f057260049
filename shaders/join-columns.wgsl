// Columns put into a wider matrix: y[r, offset + c] = x[r, c].
// x: [rows, width], y: [rows, stride], row-major.
// Defines: VEC4 (width, stride and offset are multiples of 4: an element is a vec4 and they count vec4s).
struct Params { elements: u32, width: u32, stride: u32, offset: u32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<${x as Element}>;
@group(0) @binding(1) var<storage, read_write> y: array<${y as Element}>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  y[(index / params.width) * params.stride + params.offset + index % params.width] = ${y as Element}(Element(x[index]));
}
