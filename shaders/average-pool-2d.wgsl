// Mean over the window of 2 * radius + 1 pixels on a side around each pixel, stride 1: y[b, i, j, :] = sum of x over the window / count.
// x and y: [batch, height, width, C], row-major.
// Defines: PICTURE, the text of lib/picture.wgsl, with its defines; COUNT_PADDING (pixels outside count as zeros, otherwise not at all);
// TRANSPOSED (the gradient: each x is divided by its own window's count before it is summed).
${POINTWISE}
${PICTURE}

struct Params { count: u32, channels: u32, height: u32, width: u32, radius: u32 }
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

// First pixel of the window around `at`, and one past its last inside `size`.
fn windowBegin(at: u32) -> u32 {
  return max(at, params.radius) - params.radius;
}

fn windowEnd(at: u32, size: u32) -> u32 {
  return min(at + params.radius + 1u, size);
}

// One over the pixels that the window around (row, column) is divided by.
fn share(row: u32, column: u32) -> f32 {
#if ${COUNT_PADDING}
  let side = f32(2u * params.radius + 1u);
  return 1.0 / (side * side);
#else
  let rows = windowEnd(row, params.height) - windowBegin(row);
  let columns = windowEnd(column, params.width) - windowBegin(column);
  return 1.0 / f32(rows * columns);
#endif
}

fn element(index: u32) {
  let place = placeOf(index, params.height, params.width);
  let row = place.row;
  let column = place.column;
  var sum = Pack();
  for (var r = windowBegin(row); r < windowEnd(row, params.height); r++) {
    for (var c = windowBegin(column); c < windowEnd(column, params.width); c++) {
      let value = x[indexAt(place, r, c, params.height, params.width)];
#if ${TRANSPOSED}
      sum += value * share(r, c);
#else
      sum += value;
#endif
    }
  }
#if ${TRANSPOSED}
  y[index] = sum;
#else
  y[index] = sum * share(row, column);
#endif
}
