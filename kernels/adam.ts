import adamWgsl from "../shaders/adam.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need, sameShape } from "./kernel.ts";
import { perElement } from "./per-element.ts";

export interface AdamOptions {
  readonly lr: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly eps?: number;
  /** L2 form: weightDecay * parameter is added to the gradient (torch.optim.Adam), not decoupled (AdamW). */
  readonly weightDecay?: number;
}

/** Length of the tensor made by `adamHyperparameters`. */
export const ADAM_HYPERPARAMETERS = 8;

/**
 * What the Adam kernel reads at step `step` = 1, 2, ..: computed in float64 as torch does, then rounded. It is a tensor and not
 * attributes, so that the recorded graph is the same at every step. Order: lr / (1 - beta1^t), beta1, 1 - beta1, beta2, 1 - beta2, sqrt(1 - beta2^t), eps, weightDecay.
 * @throws RangeError if step is not a positive integer.
 */
export function adamHyperparameters({ lr, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0 }: AdamOptions, step: number): Float32Array<ArrayBuffer> {
  if (!Number.isInteger(step) || step < 1) throw new RangeError(`adam: step must be 1, 2, .., got ${step}`);
  return Float32Array.of(lr / (1 - beta1 ** step), beta1, 1 - beta1, beta2, 1 - beta2, Math.sqrt(1 - beta2 ** step), eps, weightDecay);
}

export const adamKernel: Kernel<Record<string, never>> = {
  name: "adam",
  infer(inputs) {
    const parameter = need("adam", inputs, 0, "parameter");
    for (const [i, name] of [[1, "gradient"], [2, "m"], [3, "v"]] as const) {
      const type = need("adam", inputs, i, name);
      if (!sameShape(type.shape, parameter.shape)) throw new ShapeError("adam", `${name} ${formatType(type)} must have the shape of parameter ${formatType(parameter)}`);
    }
    const hyper = need("adam", inputs, 4, "hyperparameters", 1);
    if (hyper.shape[0] !== ADAM_HYPERPARAMETERS) throw new ShapeError("adam", `hyperparameters must be f32[${ADAM_HYPERPARAMETERS}], got ${formatType(hyper)}`);
    return [parameter, parameter, parameter];
  },
  plan({ inputs }) {
    const vectors = Math.ceil(elementCount(inputs[0]!.shape) / 4);
    const bindings = {
      parameter: { input: 0 }, gradient: { input: 1 }, m: { input: 2 }, v: { input: 3 }, hyper: { input: 4 },
      nextParameter: { output: 0 }, nextM: { output: 1 }, nextV: { output: 2 },
    };
    return { dispatches: [perElement({ name: "adam", text: adamWgsl }, vectors, {}, bindings, { vectors })] };
  },
  cost: ([parameter]) => ({ flops: 14 * elementCount(parameter!.shape) }),
};

export interface AdamState {
  readonly parameter: Value;
  readonly m: Value;
  readonly v: Value;
}

/**
 * One step of torch.optim.Adam (arXiv 1412.6980; eps outside the root, bias-corrected). All of one shape, f32; hyperparameters f32 [8] from `adamHyperparameters`.
 * @throws ShapeError if a shape differs.
 */
export function adam(g: Recorder, { parameter, m, v }: AdamState, gradient: Value, hyperparameters: Value): AdamState {
  const [nextParameter, nextM, nextV] = g.apply(adamKernel, [parameter, gradient, m, v, hyperparameters], {});
  return { parameter: nextParameter!, m: nextM!, v: nextV! };
}
