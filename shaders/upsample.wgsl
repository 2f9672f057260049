// Nearest-neighbour resize: y[b, i, j, :] = x[b, floor(i * scaleY), floor(j * scaleX), :].
// x: [batch, height, width, C], y: [batch, outHeight, outWidth, C], row-major.
// Defines: PICTURE, the text of lib/picture.wgsl, with its defines.
${POINTWISE}
${PICTURE}

struct Params { count: u32, channels: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, scaleY: f32, scaleX: f32 }
@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read_write> y: array<${y as Pack}>;

fn element(index: u32) {
  let place = placeOf(index, params.outHeight, params.outWidth);
  let row = min(u32(f32(place.row) * params.scaleY), params.height - 1u);
  let column = min(u32(f32(place.column) * params.scaleX), params.width - 1u);
  y[index] = ${y as Pack}(Pack(x[indexAt(place, row, column, params.height, params.width)]));
}
