// 2-D convolution as an implicit matrix product: a row is an output pixel, the inner dimension runs over the input channels of
// one kernel tap after another; nothing is materialised. Epilogue: (activation(sum + bias + batchBias[image]) + residual) * scale.
// a [images, height, width, k] channels-last; b [kernelHeight, kernelWidth, in, out]; bias [n]; batchBias [images, n]; residual and c
// [images, outHeight, outWidth, n].
// GRADIENT: the gradient for the input. a is then the cotangent of the output, c that of the input, k the forward's output channels,
// and B is read transposed (TRANSPOSE_B).
// Defines: GRADIENT, VEC4, TRANSPOSE_B, PANELS, B_F16, HALF, GATED and KEEP (false), ACTIVATE, those of TILE, and the snippets ENABLE,
// PARAMS, GEMM, TILE, ACTIVATIONS.
${ENABLE}
struct Params {
${PARAMS}
  height: u32, width: u32, rowWidth: u32,
  kernelWidth: u32, stride: u32, padTop: u32, padLeft: u32,
}

// height and width are those of a; rowWidth is the width of the picture whose pixels are the rows.
fn rowAddress(batch: u32, row: u32, tap: u32) -> RowAddress {
  let image = row / params.rowsPerImage;
  let pixel = row % params.rowsPerImage;
  let y = i32(pixel / params.rowWidth);
  let x = i32(pixel % params.rowWidth);
  let ky = i32(tap / params.kernelWidth);
  let kx = i32(tap % params.kernelWidth);
#if ${GRADIENT}
  let strided = vec2i(y + i32(params.padTop) - ky, x + i32(params.padLeft) - kx);
  let at = strided / i32(params.stride);
  let inside = all(strided >= vec2i(0)) && all(at * i32(params.stride) == strided) && at.x < i32(params.height) && at.y < i32(params.width);
#else
  let at = vec2i(y, x) * i32(params.stride) + vec2i(ky, kx) - vec2i(i32(params.padTop), i32(params.padLeft));
  let inside = all(at >= vec2i(0)) && at.x < i32(params.height) && at.y < i32(params.width);
#endif
  let start = ((image * params.height + u32(at.x)) * params.width + u32(at.y)) * params.k;
  return RowAddress(select(0u, start, inside), inside);
}

fn tapSlice(tap: u32) -> u32 { return tap; }

${GEMM}
