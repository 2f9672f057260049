// Columns put into a wider matrix: y[r, offset + c] = x[r, c].
// x: [rows, width], y: [rows, stride], row-major.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether width, stride and offset are multiples of 4; they count Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, width: u32, stride: u32, offset: u32 }
@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read_write> y: array<${y as Pack}>;

fn element(index: u32) {
  y[(index / params.width) * params.stride + params.offset + index % params.width] = ${y as Pack}(Pack(x[index]));
}
