// A window of each row, zero where it reaches past the row: y[r, c] = x[r, c + shift], or 0 outside.
// Slicing has shift = start, padding has shift = -before.
// x: [rows, columns], y: [rows, outColumns], row-major.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether columns, outColumns and shift are multiples of 4; they count Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, columns: u32, outColumns: u32, shift: i32 }
@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read_write> y: array<${y as Pack}>;

fn element(index: u32) {
  let row = index / params.outColumns;
  let column = i32(index % params.outColumns) + params.shift;
  var value = Pack();
  if (column >= 0 && column < i32(params.columns)) { value = Pack(x[row * params.columns + u32(column)]); }
  y[index] = ${y as Pack}(value);
}
