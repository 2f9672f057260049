import { sumRows } from "./broadcast.ts";
import { conv2dWeightGradient } from "./weight-gradient.ts";
import { type FusedActivation, planGemm } from "./gemm.ts";
import {
  type Kernel,
  type Recorder,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  sameShape,
} from "./kernel.ts";
import { RESIDUAL, epilogueGradient, matmul } from "./matmul.ts";
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
    throw new ShapeError("conv2d", `the kernel ${w.shape[0]}x${w.shape[1]} is larger than the padded input ${formatType(x)}`);
  }
  return [height, width];
}

const BATCH_BIAS = 3;

/**
 * Inputs: x [B, H, W, C]; weight [kh, kw, C, N]; bias [N]; batchBias [B, N]; residual of the output's shape.
 * Output [B, H', W', N] = (activation(conv + bias + batchBias) + residual) * scale. Cross-correlation, as the field's Conv2d.
 */
export const conv2dKernel: Kernel<Conv2dAttributes> = {
  name: "conv2d",
  readsPanels: [1],
  readsColumns: [BATCH_BIAS],
  infer(inputs, attributes) {
    const x = need("conv2d", inputs, 0, "x", 4);
    const w = need("conv2d", inputs, 1, "weight", 4, ["f32", "f16"], true);
    if (x.shape[3] !== w.shape[2]) {
      throw new ShapeError("conv2d", `x ${formatType(x)} has ${x.shape[3]} channels, weight ${formatType(w)} takes ${w.shape[2]}`);
    }
    const [height, width] = outputSize(x, w, attributes);
    const n = w.shape[3]!;
    const out = f32([x.shape[0]!, height, width, n]);
    const [, , bias, batchBias, residual] = inputs;
    if (bias && !sameShape(bias.shape, [n])) throw new ShapeError("conv2d", `bias must be [${n}], got ${formatType(bias)}`);
    const { stride, offset } = batchBias?.columns ?? { stride: n, offset: 0 };
    // Read as vec4s where the product is.
    const aligned = n % 4 !== 0 || x.shape[3]! % 4 !== 0 || (stride % 4 === 0 && offset % 4 === 0);
    if (batchBias && (!sameShape(batchBias.shape, [x.shape[0]!, n]) || !aligned)) {
      throw new ShapeError("conv2d", `batchBias must be [${x.shape[0]},${n}], got ${formatType(batchBias)}`);
    }
    if (residual && !sameShape(residual.shape, out.shape)) {
      throw new ShapeError("conv2d", `residual must be [${out.shape.join(",")}], got ${formatType(residual)}`);
    }
    return [out];
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const [x, w, bias, batchBias, residual] = inputs;
    const [images, outHeight, outWidth, n] = outputs[0]!.shape as [number, number, number, number];
    const [kernelHeight, kernelWidth, k] = w!.shape as [number, number, number, number];
    const pixels = outHeight * outWidth;
    const size = { rows: images * pixels, n, k, batches: 1, taps: kernelHeight * kernelWidth, rowsPerImage: pixels, bBatchStride: 0 };
    const epilogue = {
      ...attributes,
      hasBias: bias !== undefined,
      batchBias: batchBias && (batchBias.columns ?? { stride: n, offset: 0 }),
      hasResidual: residual !== undefined,
    };
    const extra = { padded: true, defines: { GRADIENT: false }, params: geometry(attributes, x!, outWidth, kernelWidth) };
    return planGemm({ name: "conv2d", text: conv2dWgsl }, size, epilogue, w!, false, capabilities, extra);
  },
  addend: ({ scale }) => (scale === 1 ? RESIDUAL : undefined),
  cost: ([, w], [out]) => ({ flops: 2 * elementCount(out!.shape) * elementCount(w!.shape.slice(0, 3)) }),
  gradient([dy], context) {
    const { g, inputs, attributes, wanted } = context;
    if (!dy) return [];
    const { dSum, dResidual } = epilogueGradient(
      dy,
      context,
      (activation) => g.apply(conv2dKernel, inputs.slice(0, 4), { ...attributes, activation, scale: 1 })[0]!,
    );
    const { stride, padding } = attributes;
    const dx = wanted[0]
      ? g.apply(conv2dGradientKernel, [dSum, inputs[1]], { stride, padding, inputShape: [...inputs[0]!.type.shape] })[0]
      : undefined;
    const dw = wanted[1] ? conv2dWeightGradient(g, inputs[0]!, dSum, inputs[1]!.type.shape, stride, padding) : undefined;
    const dBias = wanted[2] ? sumRows(g, dSum, inputs[2]!.type.shape) : undefined;
    return [dx, dw, dBias, wanted[3] ? sumRows(g, dSum, inputs[3]!.type.shape, "middle") : undefined, dResidual];
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

/**
 * Inputs: cotangent of conv2d's sum [B, H', W', N], weight [kh, kw, C, N], two unused places, a residual. Output: cotangent of x [B, H, W,
 * C], plus the residual.
 */
export const conv2dGradientKernel: Kernel<{ stride: number; padding: readonly number[]; inputShape: readonly number[] }> = {
  name: "conv2d-gradient",
  readsPanels: [1],
  infer(inputs, { inputShape }) {
    const dy = need("conv2d-gradient", inputs, 0, "dy", 4);
    const w = need("conv2d-gradient", inputs, 1, "weight", 4, ["f32", "f16"], true);
    if (dy.shape[3] !== w.shape[3] || inputShape[3] !== w.shape[2]) {
      throw new ShapeError(
        "conv2d-gradient",
        `dy ${formatType(dy)} and input [${inputShape.join(",")}] do not belong to weight ${formatType(w)}`,
      );
    }
    const residual = inputs[RESIDUAL];
    if (residual && !sameShape(residual.shape, inputShape)) {
      throw new ShapeError("conv2d-gradient", `residual must be [${inputShape.join(",")}], got ${formatType(residual)}`);
    }
    return [f32(inputShape)];
  },
  plan({ inputs, outputs, attributes, capabilities }) {
    const [dy, w] = inputs;
    const [images, height, width, n] = outputs[0]!.shape as [number, number, number, number];
    const [kernelHeight, kernelWidth, , k] = w!.shape as [number, number, number, number];
    const size = {
      rows: images * height * width,
      n,
      k,
      batches: 1,
      taps: kernelHeight * kernelWidth,
      rowsPerImage: height * width,
      bBatchStride: 0,
    };
    const epilogue = { activation: "none" as const, scale: 1, hasBias: false, hasResidual: inputs[RESIDUAL] !== undefined };
    const extra = { padded: true, defines: { GRADIENT: true }, params: geometry(attributes, dy!, width, kernelWidth) };
    return planGemm({ name: "conv2d-gradient", text: conv2dWgsl }, size, epilogue, w!, true, capabilities, extra);
  },
  addend: () => RESIDUAL,
  cost: ([dy, w]) => ({ flops: 2 * elementCount(dy!.shape) * elementCount(w!.shape.slice(0, 3)) }),
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
  return g.apply(conv2dKernel, [x, weight, bias, batchBias, residual], { stride, padding: sides, activation, scale })[0]!;
}
