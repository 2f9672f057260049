import adamWgsl from "../shaders/adam.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, sameShape } from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";

export interface AdamOptions {
  readonly lr: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly eps?: number;
  /** L2 form (torch.optim.Adam): weightDecay * parameter is added to the gradient; AdamW's where the step is recorded `decoupled`. */
  readonly weightDecay?: number;
  /** What gradients are multiplied by where the step is recorded `scaled`: of a sum over n batches 1 / n. Default 1. */
  readonly gradientScale?: number;
}

/** Length of the tensor made by `adamHyperparameters`. */
export const ADAM_HYPERPARAMETERS = 10;

/**
 * What the Adam kernel reads at step `step` = 1, 2, ..: computed in float64 as torch does, then rounded. It is a tensor and not
 * attributes, so that the recorded graph is the same at every step. Order:
 * lr / (1 - beta1^t), beta1, 1 - beta1, beta2, 1 - beta2, sqrt(1 - beta2^t), eps, weightDecay, 1 - lr * weightDecay, gradientScale.
 * @throws RangeError if step is not a positive integer.
 */
export function adamHyperparameters(options: AdamOptions, step: number): Float32Array<ArrayBuffer> {
  const { lr, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0, gradientScale = 1 } = options;
  if (!Number.isInteger(step) || step < 1) throw new RangeError(`adam: step must be 1, 2, .., got ${step}`);
  const correction = Math.sqrt(1 - beta2 ** step);
  const kept = 1 - lr * weightDecay;
  return Float32Array.of(lr / (1 - beta1 ** step), beta1, 1 - beta1, beta2, 1 - beta2, correction, eps, weightDecay, kept, gradientScale);
}

export type AdamAttributes = {
  /** Weight decay as AdamW's: the parameter is multiplied by 1 - lr * weightDecay first, and the gradient is left as it is. */
  readonly decoupled?: boolean;
  /** The gradient is multiplied by the last of the hyperparameters. */
  readonly scaled?: boolean;
  /** The new parameter comes also rounded to halves, as the model computes with it. */
  readonly halved?: boolean;
};

/** The next parameter, m and v are each written over what they were where that is a tensor which holds them. */
export const adamKernel: Kernel<
  AdamAttributes,
  "parameter" | "gradient" | "m" | "v" | "hyper",
  "nextParameter" | "nextM" | "nextV" | "halves"
> = {
  name: "adam",
  inputs: { parameter: {}, gradient: {}, m: {}, v: {}, hyper: { rank: 1 } },
  outputs: ({ halved }) => ["nextParameter", "nextM", "nextV", ...(halved ? (["halves"] as const) : [])],
  layout: "any",
  inPlace: { nextParameter: "parameter", nextM: "m", nextV: "v" },
  infer({ parameter, hyper, ...others }, { halved }) {
    for (const name of ["gradient", "m", "v"] as const) {
      if (!sameShape(others[name].shape, parameter.shape)) {
        throw new ShapeError(`${name} ${formatType(others[name])} must have the shape of parameter ${formatType(parameter)}`);
      }
    }
    if (hyper.shape[0] !== ADAM_HYPERPARAMETERS) {
      throw new ShapeError(`hyperparameters must be f32[${ADAM_HYPERPARAMETERS}], got ${formatType(hyper)}`);
    }
    if (halved && elementCount(parameter.shape) % 4 !== 0) {
      throw new ShapeError(`halves are made of whole vec4s, not of ${formatType(parameter)}`);
    }
    return { nextParameter: parameter, nextM: parameter, nextV: parameter, ...(halved && { halves: { ...parameter, dtype: "f16" } }) };
  },
  plan({ inputs: { parameter }, attributes: { decoupled = false, scaled = false, halved = false }, overwrites }) {
    const defines = { IN_PLACE: overwrites, DECOUPLED: decoupled, SCALED: scaled, HALVED: halved };
    return { dispatches: [vectorwise({ name: "adam", text: adamWgsl }, parameter, {}, { defines })] };
  },
  cost: ({ parameter }) => ({ flops: 14 * elementCount(parameter.shape) }),
};

export interface AdamState {
  readonly parameter: Value;
  readonly m: Value;
  readonly v: Value;
}

/**
 * One step of torch.optim.Adam (arXiv 1412.6980; eps outside the root, bias-corrected), or of AdamW (arXiv 1711.05101). All of one shape,
 * f32; hyperparameters f32 [10] from `adamHyperparameters`.
 * @throws ShapeError if a shape differs.
 */
export function adam(
  g: Recorder,
  { parameter, m, v }: AdamState,
  gradient: Value,
  hyperparameters: Value,
  attributes: AdamAttributes = {},
): AdamState & { readonly halves?: Value } {
  const { nextParameter, nextM, nextV, halves } = g.apply(adamKernel, { parameter, gradient, m, v, hyper: hyperparameters }, attributes);
  return { parameter: nextParameter, m: nextM, v: nextV, ...(attributes.halved && { halves }) };
}
