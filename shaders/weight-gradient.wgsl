// Gradient of a 2-D convolution for its weight as a matrix product whose inner dimension runs over the pixels:
// dw[tap, input][output] = sum over pixels of x[pixel shifted by the tap][input] * dy[pixel][output]. Nothing is transposed or
// materialised. a = x [images, height, width, inputs], read across its rows; b = dy [pixels, n]; c = dw [taps * inputs, n].
// POINTWISE: one tap that shifts nothing, as the weight of a linear layer has; a row of x is then a pixel.
// Defines: POINTWISE, GATHER_A (false in the second dispatch of a split product), VEC4, HALF, those of TILE, the snippets ENABLE,
// PARAMS, GEMM, TILE, ACTIVATIONS; TRANSPOSE_B, PANELS, B_F16, GATED and KEEP are false, ACTIVATE is identity4.
${ENABLE}
struct Params {
${PARAMS}
  inputs: u32, height: u32, width: u32, outHeight: u32, outWidth: u32,
  kernelWidth: u32, stride: u32, padTop: u32, padLeft: u32,
}

// A row's input channel, and above it the place of its tap: x in bits 20 to 25, y in the highest six.
fn rowAddress(batch: u32, row: u32, tap: u32) -> RowAddress {
  let t = row / params.inputs;
  return RowAddress((row % params.inputs) | ((t % params.kernelWidth) << 20u) | ((t / params.kernelWidth) << 26u), true);
}

fn tapSlice(tap: u32) -> u32 { return 0u; }

#if ${GATHER_A}
// The quotient of numbers below 2^22, exactly: an integer division takes a software adapter longer than the products it is for.
fn quotient(x: u32, divisor: u32) -> u32 { return u32((f32(x) + 0.5) / f32(divisor)); }

// What the row reads of four pixels from the k-th on, zero beyond the last.
fn loadA(address: RowAddress, k: u32) -> Operand {
  let input = address.start & 0xfffffu;
  var x = vec4f();
#if ${POINTWISE}
  for (var j = 0u; j < 4u; j++) {
    if (address.valid && k + j < params.k) { x[j] = f32(a[(k + j) * params.inputs + input]); }
  }
#else
  let tap = vec2i(i32(address.start >> 26u), i32((address.start >> 20u) & 63u)) - vec2i(i32(params.padTop), i32(params.padLeft));
  let line = quotient(k, params.outWidth);
  var image = quotient(line, params.outHeight);
  var pixel = vec2u(line - image * params.outHeight, k - line * params.outWidth);
  for (var j = 0u; j < 4u; j++) {
    let at = vec2i(pixel * params.stride) + tap;
    let inside = all(at >= vec2i(0)) && at.x < i32(params.height) && at.y < i32(params.width);
    if (address.valid && inside && k + j < params.k) {
      x[j] = f32(a[((image * params.height + u32(at.x)) * params.width + u32(at.y)) * params.inputs + input]);
    }
    pixel.y++;
    if (pixel.y == params.outWidth) { pixel = vec2u(pixel.x + 1u, 0u); }
    if (pixel.x == params.outHeight) { pixel.x = 0u; image++; }
  }
#endif
  return Operand(x);
}
#endif

${GEMM}
