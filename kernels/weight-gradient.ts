import weightGradientWgsl from "../shaders/weight-gradient.wgsl";
import { planGemm } from "./gemm.ts";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32, formatType } from "./kernel.ts";
import { reshape } from "./reshape.ts";

type Attributes = { stride: number; padding: readonly number[]; weightShape: readonly number[] };

/** What the shader counts exactly, and what it has bits for. */
const MAX_PIXELS = 2 ** 22;
const MAX_INPUTS = 2 ** 20;
const MAX_SIDE = 64;

/** From x [B, H, W, C] and dy [B, H', W', N] the gradient of a convolution for its weight [kh, kw, C, N]. */
export const weightGradientKernel: Kernel<Attributes, "x" | "dy", "dWeight"> = {
  name: "weight-gradient",
  inputs: { x: { rank: 4 }, dy: { rank: 4 } },
  outputs: ["dWeight"],
  keepsF32: true,
  infer({ x, dy }, { weightShape }) {
    const [kernelHeight, kernelWidth, c, n] = weightShape as [number, number, number, number];
    if (x.shape[3] !== c || dy.shape[3] !== n || x.shape[0] !== dy.shape[0]) {
      throw new ShapeError(`x ${formatType(x)} and dy ${formatType(dy)} do not belong to weight [${weightShape.join(",")}]`);
    }
    if (elementCount(dy.shape) / n > MAX_PIXELS || c > MAX_INPUTS || Math.max(kernelHeight, kernelWidth) > MAX_SIDE) {
      const limits = `${MAX_PIXELS} pixels, ${MAX_INPUTS} channels and ${MAX_SIDE} taps a side`;
      throw new ShapeError(
        `x ${formatType(x)} for weight [${weightShape.join(",")}] is more than ${limits}: take fewer pictures at a time`,
      );
    }
    return { dWeight: f32(weightShape) };
  },
  plan({ inputs: { x, dy }, attributes: { stride, padding, weightShape }, capabilities }) {
    const [images, height, width, c] = x.shape as [number, number, number, number];
    const [, outHeight, outWidth, n] = dy.shape as [number, number, number, number];
    const [kernelHeight, kernelWidth] = weightShape as [number, number];
    const taps = kernelHeight * kernelWidth;
    const rows = taps * c;
    return planGemm({
      shader: { name: "weight-gradient", text: weightGradientWgsl },
      size: { rows, n, k: images * outHeight * outWidth, batches: 1, taps: 1, rowsPerImage: rows, bBatchStride: 0 },
      operands: { a: "x", b: "dy", c: "dWeight" },
      b: dy,
      capabilities,
      params: { inputs: c, height, width, outHeight, outWidth, kernelWidth, stride, padTop: padding[0]!, padLeft: padding[2]! },
      defines: { POINTWISE: taps === 1 && stride === 1 && padding.every((p) => p === 0) },
      gathersA: true,
    });
  },
  cost: ({ dy }, _outputs, { weightShape }) => ({ flops: 2 * elementCount(dy.shape) * elementCount(weightShape.slice(0, 3)) }),
};

/**
 * The gradient of a convolution of x [B, H, W, C] for its weight [kh, kw, C, N], from the cotangent dy [B, H', W', N].
 * @throws ShapeError on shapes that do not fit
 */
export function conv2dWeightGradient(
  g: Recorder,
  x: Value,
  dy: Value,
  weightShape: readonly number[],
  stride: number,
  padding: readonly number[],
): Value {
  return g.apply(weightGradientKernel, { x, dy }, { stride, padding: [...padding], weightShape: [...weightShape] }).dWeight;
}

/** The gradient of x [.., K] times a weight [K, N] for the weight, from the cotangent dy [.., N]: x^T dy over all rows. */
export function linearWeightGradient(g: Recorder, x: Value, dy: Value): Value {
  const [k, n] = [x.type.shape.at(-1)!, dy.type.shape.at(-1)!];
  const pixels = (v: Value, channels: number): Value => reshape(g, v, [1, elementCount(v.type.shape) / channels, 1, channels]);
  return reshape(g, conv2dWeightGradient(g, pixels(x, k), pixels(dy, n), [1, 1, k, n], 1, [0, 0, 0, 0]), [k, n]);
}
