// Gradient of the nearest-neighbour resize: dx[b, i, j, :] = sum of dy over the output pixels that copied (i, j).
// dy: [batch, outHeight, outWidth, C], dx: [batch, height, width, C], row-major.
// Which pixels copied (i, j) is decided by the forward pass's own float32 formula, searched in a window that surely holds them.
// Defines: PICTURE, the text of lib/picture.wgsl, with its defines.
${POINTWISE}
${PICTURE}

struct Params { count: u32, channels: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, scaleY: f32, scaleX: f32 }
@group(0) @binding(0) var<storage, read> dy: array<${dy as Pack}>;
@group(0) @binding(1) var<storage, read_write> dx: array<${dx as Pack}>;

fn firstCopy(i: u32, size: u32, outSize: u32) -> u32 {
  let at = i * outSize / size;
  return select(0u, at - 1u, at > 0u);
}

fn endCopy(i: u32, size: u32, outSize: u32) -> u32 {
  return min(outSize, ((i + 1u) * outSize + size - 1u) / size + 1u);
}

fn element(index: u32) {
  let place = placeOf(index, params.height, params.width);
  let row = place.row;
  let column = place.column;
  var sum = Pack();
  for (var i = firstCopy(row, params.height, params.outHeight); i < endCopy(row, params.height, params.outHeight); i++) {
    if (min(u32(f32(i) * params.scaleY), params.height - 1u) != row) { continue; }
    for (var j = firstCopy(column, params.width, params.outWidth); j < endCopy(column, params.width, params.outWidth); j++) {
      if (min(u32(f32(j) * params.scaleX), params.width - 1u) != column) { continue; }
      sum += Pack(dy[indexAt(place, i, j, params.outHeight, params.outWidth)]);
    }
  }
  dx[index] = ${dx as Pack}(sum);
}
