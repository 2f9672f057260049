// Two matrices side by side: y[r, :] = (a[r, :], b[r, :]).
// a: [rows, columnsA], b: [rows, columnsB], y: [rows, columnsA + columnsB], row-major.
// Defines: VEC4 (both column counts are multiples of 4: an element is a vec4, columns count vec4s).
struct Params { elements: u32, columnsA: u32, columnsB: u32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> a: array<${a as Element}>;
@group(0) @binding(1) var<storage, read> b: array<${b as Element}>;
@group(0) @binding(2) var<storage, read_write> y: array<${y as Element}>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  let columns = params.columnsA + params.columnsB;
  let row = index / columns;
  let column = index % columns;
  if (column < params.columnsA) {
    y[index] = ${y as Element}(Element(a[row * params.columnsA + column]));
  } else {
    y[index] = ${y as Element}(Element(b[row * params.columnsB + column - params.columnsA]));
  }
}
