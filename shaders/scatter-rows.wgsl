// y[t, :] = sum of x[i, :] over the i with ids[i] = t. No atomics: each output searches the (short) list of ids.
// x: [idCount, width], ids: [idCount], y: [rows, width], row-major.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether width is a multiple of 4; `width` counts Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, width: u32, idCount: u32 }
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Pack>;

fn element(index: u32) {
  let row = index / params.width;
  let column = index % params.width;
  var sum = Pack();
  for (var i = 0u; i < params.idCount; i++) {
    if (ids[i] == row) { sum += x[i * params.width + column]; }
  }
  y[index] = sum;
}
