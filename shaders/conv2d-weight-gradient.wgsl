// Gradient of a 2-D convolution for its weight: dw[ky][kx][in][out] = sum over pixels of x[pixel shifted by the tap][in] * dy[pixel][out].
// x [images, height, width, inputs]; dy [images, outHeight, outWidth, outputs]; dw [taps, inputs, outputs].
// A thread owns four outputs of one tap and input, and walks the pixels of one chunk; with chunks above 1, dw is [chunks, taps, inputs, outputs], to be summed.
// Defines: VEC4 (outputs is a multiple of 4: dy and dw are vec4 arrays; otherwise a thread owns one output).
struct Params {
  images: u32, height: u32, width: u32, inputs: u32, outHeight: u32, outWidth: u32, outputs: u32,
  taps: u32, kernelWidth: u32, stride: u32, padTop: u32, padLeft: u32, chunks: u32, pixelsPerChunk: u32,
}
@group(0) @binding(0) var<storage, read> x: array<f32>;
#if ${VEC4}
@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;
#endif
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.x + id.y * groups.x * 64u;
  let out = index % params.outputs;
  let input = (index / params.outputs) % params.inputs;
  let tap = (index / (params.outputs * params.inputs)) % params.taps;
  let chunk = index / (params.outputs * params.inputs * params.taps);
  if (chunk >= params.chunks) { return; }
  let offset = vec2i(i32(tap / params.kernelWidth), i32(tap % params.kernelWidth)) - vec2i(i32(params.padTop), i32(params.padLeft));
  let perImage = params.outHeight * params.outWidth;
  let end = min((chunk + 1u) * params.pixelsPerChunk, params.images * perImage);
#if ${VEC4}
  var sum = vec4f();
#else
  var sum = 0.0;
#endif
  for (var pixel = chunk * params.pixelsPerChunk; pixel < end; pixel++) {
    let image = pixel / perImage;
    let here = pixel % perImage;
    let at = vec2i(i32(here / params.outWidth), i32(here % params.outWidth)) * i32(params.stride) + offset;
    if (all(at >= vec2i(0)) && at.x < i32(params.height) && at.y < i32(params.width)) {
      sum += x[((image * params.height + u32(at.x)) * params.width + u32(at.y)) * params.inputs + input] * dy[pixel * params.outputs + out];
    }
  }
  dw[index] = sum;
}
