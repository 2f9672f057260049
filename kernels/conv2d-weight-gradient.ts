import { sumRows } from "./broadcast.ts";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32, formatType, need, spread } from "./kernel.ts";
import weightGradientWgsl from "../shaders/conv2d-weight-gradient.wgsl";

type Attributes = { stride: number; padding: readonly number[]; weightShape: readonly number[]; chunks: number };

/** Threads wanted before the pixels are split among more of them. */
const ENOUGH_THREADS = 4096;
const MAX_CHUNKS = 64;

/** Inputs x [B, H, W, C], dy [B, H', W', N]; output [chunks, kh, kw, C, N], whose sum over chunks is the weight's gradient. */
export const conv2dWeightGradientKernel: Kernel<Attributes> = {
  name: "conv2d-weight-gradient",
  infer(inputs, { weightShape, chunks }) {
    const x = need("conv2d-weight-gradient", inputs, 0, "x", 4);
    const dy = need("conv2d-weight-gradient", inputs, 1, "dy", 4);
    if (x.shape[3] !== weightShape[2] || dy.shape[3] !== weightShape[3]) throw new ShapeError("conv2d-weight-gradient", `x ${formatType(x)} and dy ${formatType(dy)} do not belong to weight [${weightShape.join(",")}]`);
    return [f32([chunks, ...weightShape])];
  },
  plan({ inputs, attributes: { stride, padding, weightShape, chunks } }) {
    const [images, height, width, inputChannels] = inputs[0]!.shape as [number, number, number, number];
    const [, outHeight, outWidth, n] = inputs[1]!.shape as [number, number, number, number];
    const [kernelHeight, kernelWidth] = weightShape as [number, number];
    const vec4 = n % 4 === 0;
    const outputs = vec4 ? n / 4 : n;
    const taps = kernelHeight * kernelWidth;
    return {
      dispatches: [
        {
          shader: { name: "conv2d-weight-gradient", text: weightGradientWgsl },
          defines: { VEC4: vec4 },
          bindings: { x: { input: 0 }, dy: { input: 1 }, dw: { output: 0 } },
          params: {
            images, height, width, inputs: inputChannels, outHeight, outWidth, outputs, taps, kernelWidth, stride, padTop: padding[0]!, padLeft: padding[2]!,
            chunks, pixelsPerChunk: Math.ceil((images * outHeight * outWidth) / chunks),
          },
          workgroups: spread(Math.ceil((chunks * taps * inputChannels * outputs) / 64)),
        },
      ],
    };
  },
  cost: ([, dy], _outputs, { weightShape }) => ({ flops: 2 * elementCount(dy!.shape) * elementCount(weightShape.slice(0, 3)) }),
};

/** The gradient of a convolution for its weight [kh, kw, C, N]. */
export function conv2dWeightGradient(g: Recorder, x: Value, dy: Value, weightShape: readonly number[], stride: number, padding: readonly number[]): Value {
  const threads = elementCount(weightShape) / 4;
  const pixels = elementCount(dy.type.shape.slice(0, 3));
  const chunks = Math.max(1, Math.min(MAX_CHUNKS, Math.ceil(ENOUGH_THREADS / threads), Math.ceil(pixels / 32)));
  const [parts] = g.apply(conv2dWeightGradientKernel, [x, dy], { stride, padding, weightShape: [...weightShape], chunks });
  return sumRows(g, parts!, weightShape);
}
