// Gradient of max pooling: a pixel gets the cotangent of each window whose first maximum (in row-major order) it is.
// x: [batch, height, width, C], y and dy: [batch, outHeight, outWidth, C], dx like x, row-major.
// Defines: PICTURE, the text of lib/picture.wgsl, with its defines.
${POINTWISE}
${PICTURE}

struct Params { count: u32, channels: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, size: u32, stride: u32, padding: u32 }
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read> y: array<Pack>;
@group(0) @binding(2) var<storage, read> dy: array<Pack>;
@group(0) @binding(3) var<storage, read_write> dx: array<Pack>;

// The first window that covers padded coordinate p, and one past the last.
fn windowBegin(p: u32) -> u32 {
  return select(0u, (p - params.size) / params.stride + 1u, p >= params.size);
}

fn windowEnd(p: u32, windows: u32) -> u32 {
  return min(p / params.stride + 1u, windows);
}

fn element(index: u32) {
  let place = placeOf(index, params.height, params.width);
  let row = place.row;
  let column = place.column;
  let own = x[index];
  var sum = Pack();
  for (var i = windowBegin(row + params.padding); i < windowEnd(row + params.padding, params.outHeight); i++) {
    for (var j = windowBegin(column + params.padding); j < windowEnd(column + params.padding, params.outWidth); j++) {
      let at = indexAt(place, i, j, params.outHeight, params.outWidth);
      let maximum = y[at];
      var share = select(Pack(), dy[at], own == maximum);
      // A tie: an earlier pixel of the window with the same value takes it.
      let rowBegin = max(i * params.stride, params.padding) - params.padding;
      let columnBegin = max(j * params.stride, params.padding) - params.padding;
      let columnEnd = min(j * params.stride + params.size - params.padding, params.width);
      for (var r = rowBegin; r <= row; r++) {
        for (var c = columnBegin; c < columnEnd; c++) {
          if (r == row && c >= column) { break; }
          let earlier = x[indexAt(place, r, c, params.height, params.width)];
          share = select(share, Pack(), earlier == maximum);
        }
      }
      sum += share;
    }
  }
  dx[index] = sum;
}
