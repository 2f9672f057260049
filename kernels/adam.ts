import adamWgsl from "../shaders/adam.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need, sameShape } from "./kernel.ts";
import { perElement } from "./per-element.ts";

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

/**
 * Inputs: parameter, gradient, m, v, hyperparameters. Outputs: the next parameter, m and v, each over what it was where that is a tensor
 * which holds it; halves of the parameter.
 */
export const adamKernel: Kernel<AdamAttributes> = {
  name: "adam",
  alike: true,
  inPlace: [0, 2, 3],
  infer(inputs, { halved }) {
    const parameter = need("adam", inputs, 0, "parameter", undefined, ["f32"], true);
    for (const [i, name] of [[1, "gradient"], [2, "m"], [3, "v"]] as const) {
      const type = need("adam", inputs, i, name, undefined, ["f32"], true);
      if (!sameShape(type.shape, parameter.shape)) {
        throw new ShapeError("adam", `${name} ${formatType(type)} must have the shape of parameter ${formatType(parameter)}`);
      }
    }
    const hyper = need("adam", inputs, 4, "hyperparameters", 1);
    if (hyper.shape[0] !== ADAM_HYPERPARAMETERS) {
      throw new ShapeError("adam", `hyperparameters must be f32[${ADAM_HYPERPARAMETERS}], got ${formatType(hyper)}`);
    }
    if (halved && elementCount(parameter.shape) % 4 !== 0) {
      throw new ShapeError("adam", `halves are made of whole vec4s, not of ${formatType(parameter)}`);
    }
    return [parameter, parameter, parameter, ...(halved ? [{ ...parameter, dtype: "f16" } as const] : [])];
  },
  plan({ inputs, attributes: { decoupled = false, scaled = false, halved = false }, overwrites = false }) {
    const vectors = Math.ceil(elementCount(inputs[0]!.shape) / 4);
    const bindings = {
      ...(!overwrites && { parameter: { input: 0 }, m: { input: 2 }, v: { input: 3 } }),
      gradient: { input: 1 }, hyper: { input: 4 },
      nextParameter: { output: 0 }, nextM: { output: 1 }, nextV: { output: 2 }, ...(halved && { halves: { output: 3 } }),
    };
    const defines = { IN_PLACE: overwrites, DECOUPLED: decoupled, SCALED: scaled, HALVED: halved };
    return { dispatches: [perElement({ name: "adam", text: adamWgsl }, vectors, defines, bindings, { vectors })] };
  },
  cost: ([parameter]) => ({ flops: 14 * elementCount(parameter!.shape) }),
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
  const [nextParameter, nextM, nextV, halves] = g.apply(adamKernel, [parameter, gradient, m, v, hyperparameters], attributes);
  return { parameter: nextParameter!, m: nextM!, v: nextV!, ...(halves && { halves }) };
}
