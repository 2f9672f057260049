// Pictures [batch, height, width, C], row-major, `params.channels` elements a pixel: with VEC4 (C is a multiple of 4) an element is a vec4
// of channels, and `channels` counts vec4s. A thread computes one element.
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif

struct Place { batch: u32, row: u32, column: u32, channel: u32 }

// Where an element of a picture of this size stands.
fn placeOf(index: u32, height: u32, width: u32) -> Place {
  let pixel = index / params.channels;
  return Place(pixel / width / height, pixel / width % height, pixel % width, index % params.channels);
}

// The element of a picture of this size at another row and column.
fn indexAt(place: Place, row: u32, column: u32, height: u32, width: u32) -> u32 {
  return ((place.batch * height + row) * width + column) * params.channels + place.channel;
}
