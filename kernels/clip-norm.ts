import clipNormWgsl from "../shaders/clip-norm.wgsl";
import { ADAM_HYPERPARAMETERS } from "./adam.ts";
import { type Kernel, type Recorder, ShapeError, type Value, formatType } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

/** Inputs: the sum of squares of all gradients [1]; Adam's hyperparameters. Output: these with the gradients' factor clipped. */
export const clipNormKernel: Kernel<{ readonly bound: number }, "squares" | "hyper"> = {
  name: "clip-norm",
  inputs: { squares: { rank: 1 }, hyper: { rank: 1 } },
  infer({ squares, hyper }, { bound }) {
    if (!(bound > 0)) throw new ShapeError(`the bound must be above 0, got ${bound}`);
    if (squares.shape[0] !== 1 || hyper.shape[0] !== ADAM_HYPERPARAMETERS) {
      throw new ShapeError(`takes f32[1] and f32[${ADAM_HYPERPARAMETERS}], got ${formatType(squares)} and ${formatType(hyper)}`);
    }
    return { y: hyper };
  },
  plan: ({ attributes: { bound } }) => ({
    dispatches: [pointwise({ name: "clip-norm", text: clipNormWgsl }, { count: ADAM_HYPERPARAMETERS, bound })],
  }),
  cost: () => ({ flops: 4 }),
};

/**
 * Gradient clipping by global norm as torch.nn.utils.clip_grad_norm_ does it: the factor of all gradients times
 * min(1, bound / (norm + 1e-6)).
 * @param squares sum of squares of all gradients [1], before their factor; from `sumOfSquares`
 * @param hyperparameters from `adamHyperparameters`; what is returned goes to `adam` instead
 */
export function clipNorm(g: Recorder, squares: Value, hyperparameters: Value, bound: number): Value {
  return g.apply(clipNormKernel, { squares, hyper: hyperparameters }, { bound }).y;
}
