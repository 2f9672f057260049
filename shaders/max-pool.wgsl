// Maximum over size x size windows, stride `stride`, `padding` pixels of -infinity on every side.
// x: [batch, height, width, C], y: [batch, outHeight, outWidth, C], row-major.
// Defines: PICTURE, the text of lib/picture.wgsl, with its defines.
${POINTWISE}
${PICTURE}

struct Params { count: u32, channels: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, size: u32, stride: u32, padding: u32 }
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

fn element(index: u32) {
  let place = placeOf(index, params.outHeight, params.outWidth);
  // The part of the window that lies inside the image; never empty, since padding is at most half the window.
  let top = place.row * params.stride;
  let left = place.column * params.stride;
  let rowBegin = max(top, params.padding) - params.padding;
  let rowEnd = min(top + params.size - params.padding, params.height);
  let columnBegin = max(left, params.padding) - params.padding;
  let columnEnd = min(left + params.size - params.padding, params.width);
  var best = x[indexAt(place, rowBegin, columnBegin, params.height, params.width)];
  for (var row = rowBegin; row < rowEnd; row++) {
    for (var column = columnBegin; column < columnEnd; column++) {
      best = max(best, x[indexAt(place, row, column, params.height, params.width)]);
    }
  }
  y[index] = best;
}
