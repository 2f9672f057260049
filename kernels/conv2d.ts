import { sumRows } from "./broadcast.ts";
import { conv2dWeightGradient } from "./weight-gradient.ts";
import { type FusedActivation, planGemm } from "./gemm.ts";
import {
  type Kernel, type Recorder, ShapeError, type TensorType, type Value, columnsOf, elementCount, f32, formatType, sameShape,
} from "./kernel.ts";
import { epilogueGradient, matmul, needResidual } from "./matmul.ts";
import { reshape } from "./reshape.ts";
import conv2dWgsl from "../shaders/conv2d.wgsl";

export type Conv2dAttributes = {
  readonly stride: number;
  /** top, bottom, left, right */
  readonly padding: readonly number[];
  readonly activation: FusedActivation;
  readonly scale: number;
};

function outputSize(x: TensorType, w: TensorType, { stride, padding }: Conv2dAttributes): readonly [number, number] {
  const [top = 0, bottom = 0, left = 0, right = 0] = padding;
  const height = Math.floor((x.shape[1]! + top + bottom - w.shape[0]!) / stride) + 1;
  const width = Math.floor((x.shape[2]! + left + right - w.shape[1]!) / stride) + 1;
  if (height < 1 || width < 1) {
    throw new ShapeError(`the kernel ${w.shape[0]}x${w.shape[1]} is larger than the padded input ${formatType(x)}`);
  }
  return [height, width];
}

/**
 * x [B, H, W, C]; weight [kh, kw, C, N]; bias [N]; batchBias [B, N]; residual of the output's shape.
 * y [B, H', W', N] = (activation(conv + bias + batchBias) + residual) * scale. Cross-correlation, as the field's Conv2d.
 */
export const conv2dKernel: Kernel<Conv2dAttributes, "x" | "weight", "y", "bias" | "batchBias" | "residual"> = {
  name: "conv2d",
  inputs: {
    x: { rank: 4 },
    weight: { rank: 4, dtypes: ["f32", "f16"], reads: ["panels"] },
    bias: { optional: true },
    batchBias: { optional: true, reads: ["columns"] },
    residual: { optional: true },
  },
  infer({ x, weight, bias, batchBias, residual }, attributes) {
    if (x.shape[3] !== weight.shape[2]) {
      throw new ShapeError(`x ${formatType(x)} has ${x.shape[3]} channels, weight ${formatType(weight)} takes ${weight.shape[2]}`);
    }
    const [height, width] = outputSize(x, weight, attributes);
    const n = weight.shape[3]!;
    const y = f32([x.shape[0]!, height, width, n]);
    if (bias && !sameShape(bias.shape, [n])) throw new ShapeError(`bias must be [${n}], got ${formatType(bias)}`);
    const { stride, offset } = (batchBias && columnsOf(batchBias)) ?? { stride: n, offset: 0 };
    // Read as vec4s where the product is.
    const aligned = n % 4 !== 0 || x.shape[3]! % 4 !== 0 || (stride % 4 === 0 && offset % 4 === 0);
    if (batchBias && (!sameShape(batchBias.shape, [x.shape[0]!, n]) || !aligned)) {
      throw new ShapeError(`batchBias must be [${x.shape[0]},${n}], got ${formatType(batchBias)}`);
    }
    needResidual(residual, y.shape);
    return { y };
  },
  plan({ inputs, outputs: { y }, attributes, capabilities }) {
    const { x, weight: b, ...tensors } = inputs;
    const [images, outHeight, outWidth, n] = y.shape as [number, number, number, number];
    const [kernelHeight, kernelWidth, k] = b.shape as [number, number, number, number];
    const pixels = outHeight * outWidth;
    const { activation, scale } = attributes;
    return planGemm({
      shader: { name: "conv2d", text: conv2dWgsl },
      size: { rows: images * pixels, n, k, batches: 1, taps: kernelHeight * kernelWidth, rowsPerImage: pixels, bBatchStride: 0 },
      epilogue: { activation, scale, ...tensors },
      operands: { a: "x", b: "weight", c: "y" },
      b,
      capabilities,
      padded: true,
      defines: { GRADIENT: false },
      params: geometry(attributes, x, outWidth, kernelWidth),
    });
  },
  addend: ({ scale }) => (scale === 1 ? "residual" : undefined),
  cost: ({ weight }, { y }) => ({ flops: 2 * elementCount(y.shape) * elementCount(weight.shape.slice(0, 3)) }),
  gradient({ y: dy }, context) {
    const { g, inputs, attributes, wanted } = context;
    if (!dy) return {};
    const { x, weight, bias, batchBias } = inputs;
    const { dSum, dResidual } = epilogueGradient(
      dy,
      context,
      (activation) => g.apply(conv2dKernel, { x, weight, bias, batchBias }, { ...attributes, activation, scale: 1 }).y,
    );
    const { stride, padding } = attributes;
    return {
      x: wanted.x ? g.apply(conv2dGradientKernel, { dy: dSum, weight }, { stride, padding, inputShape: [...x.type.shape] }).dx : undefined,
      weight: wanted.weight ? conv2dWeightGradient(g, x, dSum, weight.type.shape, stride, padding) : undefined,
      bias: wanted.bias ? sumRows(g, dSum, bias!.type.shape) : undefined,
      batchBias: wanted.batchBias ? sumRows(g, dSum, batchBias!.type.shape, "middle") : undefined,
      residual: dResidual,
    };
  },
};

function geometry(
  { stride, padding }: { stride: number; padding: readonly number[] },
  a: TensorType,
  rowWidth: number,
  kernelWidth: number,
): Record<string, number> {
  return { height: a.shape[1]!, width: a.shape[2]!, rowWidth, kernelWidth, stride, padTop: padding[0]!, padLeft: padding[2]! };
}

type GradientAttributes = { stride: number; padding: readonly number[]; inputShape: readonly number[] };

/** From the cotangent of conv2d's sum [B, H', W', N] and weight [kh, kw, C, N] that of x [B, H, W, C], plus the residual. */
export const conv2dGradientKernel: Kernel<GradientAttributes, "dy" | "weight", "dx", "residual"> = {
  name: "conv2d-gradient",
  inputs: {
    dy: { rank: 4 },
    weight: { rank: 4, dtypes: ["f32", "f16"], reads: ["panels"] },
    residual: { optional: true },
  },
  outputs: ["dx"],
  infer({ dy, weight, residual }, { inputShape }) {
    if (dy.shape[3] !== weight.shape[3] || inputShape[3] !== weight.shape[2]) {
      throw new ShapeError(`dy ${formatType(dy)} and input [${inputShape.join(",")}] do not belong to weight ${formatType(weight)}`);
    }
    needResidual(residual, inputShape);
    return { dx: f32(inputShape) };
  },
  plan({ inputs: { dy, weight: b, residual }, outputs: { dx }, attributes, capabilities }) {
    const [images, height, width, n] = dx.shape as [number, number, number, number];
    const [kernelHeight, kernelWidth, , k] = b.shape as [number, number, number, number];
    const pixels = height * width;
    return planGemm({
      shader: { name: "conv2d-gradient", text: conv2dWgsl },
      size: { rows: images * pixels, n, k, batches: 1, taps: kernelHeight * kernelWidth, rowsPerImage: pixels, bBatchStride: 0 },
      epilogue: { residual },
      operands: { a: "dy", b: "weight", c: "dx" },
      b,
      transposeB: true,
      capabilities,
      padded: true,
      defines: { GRADIENT: true },
      params: geometry(attributes, dy, width, kernelWidth),
    });
  },
  addend: () => "residual",
  cost: ({ dy, weight }) => ({ flops: 2 * elementCount(dy.shape) * elementCount(weight.shape.slice(0, 3)) }),
};

export interface Conv2dOptions {
  readonly bias?: Value | undefined;
  readonly stride?: number;
  /** One number for all sides, or top, bottom, left, right. */
  readonly padding?: number | readonly [number, number, number, number];
  readonly batchBias?: Value | undefined;
  readonly activation?: FusedActivation;
  readonly residual?: Value | undefined;
  readonly scale?: number;
}

/**
 * x [B, H, W, C] convolved with weight [kh, kw, C, N], with the fused epilogue; a 1x1 kernel at stride 1 is recorded as a matrix product.
 * @throws ShapeError on shapes that do not fit.
 */
export function conv2d(g: Recorder, x: Value, weight: Value, options: Conv2dOptions = {}): Value {
  const { bias, stride = 1, padding = 0, batchBias, activation = "none", residual, scale = 1 } = options;
  const sides = typeof padding === "number" ? [padding, padding, padding, padding] : [...padding];
  const [kh, kw, c, n] = weight.type.shape as [number, number, number, number];
  if (kh === 1 && kw === 1 && stride === 1 && !batchBias && sides.every((p) => p === 0) && weight.type.shape.length === 4) {
    return matmul(g, x, reshape(g, weight, [c, n]), { bias, activation, residual, scale });
  }
  return g.apply(conv2dKernel, { x, weight, bias, batchBias, residual }, { stride, padding: sides, activation, scale }).y;
}
