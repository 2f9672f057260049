// Two matrices side by side: y[r, :] = (a[r, :], b[r, :]).
// a: [rows, columnsA], b: [rows, columnsB], y: [rows, columnsA + columnsB], row-major.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether both column counts are multiples of 4; they count Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, columnsA: u32, columnsB: u32 }
@group(0) @binding(0) var<storage, read> a: array<${a as Pack}>;
@group(0) @binding(1) var<storage, read> b: array<${b as Pack}>;
@group(0) @binding(2) var<storage, read_write> y: array<${y as Pack}>;

fn element(index: u32) {
  let columns = params.columnsA + params.columnsB;
  let row = index / columns;
  let column = index % columns;
  if (column < params.columnsA) {
    y[index] = ${y as Pack}(Pack(a[row * params.columnsA + column]));
  } else {
    y[index] = ${y as Pack}(Pack(b[row * params.columnsB + column - params.columnsA]));
  }
}
