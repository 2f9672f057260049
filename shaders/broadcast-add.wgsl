// y = x + b (or, without ADD, b alone), b repeated: element e of y takes element (e / block) * width + e % width of b. One thread per vec4
// of y. With block = all of y, b is repeated over the leading dimensions; with block = rows * width, b is [batch, width] over the rows of
// each batch.
// Bindings: x (with ADD), y: count vec4s; b: its width-wide rows.
// Defines: ADD; VEC4, whether width is a multiple of 4, so that four neighbours of y meet four neighbours of b.
${POINTWISE}

struct Params { count: u32, elements: u32, block: u32, width: u32 }

#if ${ADD}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
#endif
#if ${VEC4}
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> b: array<f32>;
#endif
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn indexOfB(element: u32) -> u32 {
  return (element / params.block) * params.width + element % params.width;
}

fn element(i: u32) {
#if ${VEC4}
  let other = b[indexOfB(4u * i) / 4u];
#else
  // The last vec4 of y may be partly padding, which has no element of b.
  let last = params.elements - 1u;
  let e = 4u * i;
  let other = vec4f(b[indexOfB(e)], b[indexOfB(min(e + 1u, last))], b[indexOfB(min(e + 2u, last))], b[indexOfB(min(e + 3u, last))]);
#endif
#if ${ADD}
  y[i] = x[i] + other;
#else
  y[i] = other;
#endif
}
