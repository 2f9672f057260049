// A window of each row, zero where it reaches past the row: y[r, c] = x[r, c + shift], or 0 outside.
// Slicing has shift = start, padding has shift = -before.
// x: [rows, columns], y: [rows, outColumns], row-major.
// Defines: VEC4 (columns, outColumns and shift are multiples of 4: an element is a vec4 and they count vec4s).
struct Params { elements: u32, columns: u32, outColumns: u32, shift: i32 }
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
  let row = index / params.outColumns;
  let column = i32(index % params.outColumns) + params.shift;
  var value = Element();
  if (column >= 0 && column < i32(params.columns)) { value = Element(x[row * params.columns + u32(column)]); }
  y[index] = ${y as Element}(value);
}
