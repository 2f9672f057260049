// Pictures [batch, height, width, C], row-major, `params.channels` Packs a pixel. A thread computes one Pack.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether C is a multiple of 4.
${PACKS}

struct Place { batch: u32, row: u32, column: u32, channel: u32 }

// Where a Pack of a picture of this size stands.
fn placeOf(index: u32, height: u32, width: u32) -> Place {
  let pixel = index / params.channels;
  return Place(pixel / width / height, pixel / width % height, pixel % width, index % params.channels);
}

// The Pack of a picture of this size at another row and column.
fn indexAt(place: Place, row: u32, column: u32, height: u32, width: u32) -> u32 {
  return ((place.batch * height + row) * width + column) * params.channels + place.channel;
}
