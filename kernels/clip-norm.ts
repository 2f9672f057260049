import clipNormWgsl from "../shaders/clip-norm.wgsl";
import { ADAM_HYPERPARAMETERS } from "./adam.ts";
import { type Kernel, type Recorder, ShapeError, type Value, formatType, need } from "./kernel.ts";

/** Inputs: the sum of squares of all gradients [1]; Adam's hyperparameters. Output: these with the gradients' factor clipped. */
export const clipNormKernel: Kernel<{ readonly bound: number }> = {
  name: "clip-norm",
  infer(inputs, { bound }) {
    if (!(bound > 0)) throw new ShapeError("clip-norm", `the bound must be above 0, got ${bound}`);
    const squares = need("clip-norm", inputs, 0, "squares", 1);
    const hyper = need("clip-norm", inputs, 1, "hyperparameters", 1);
    if (squares.shape[0] !== 1 || hyper.shape[0] !== ADAM_HYPERPARAMETERS) {
      throw new ShapeError(
        "clip-norm",
        `takes f32[1] and f32[${ADAM_HYPERPARAMETERS}], got ${formatType(squares)} and ${formatType(hyper)}`,
      );
    }
    return [hyper];
  },
  plan: ({ attributes: { bound } }) => ({
    dispatches: [
      {
        shader: { name: "clip-norm", text: clipNormWgsl },
        defines: {},
        bindings: { squares: { input: 0 }, hyper: { input: 1 }, y: { output: 0 } },
        params: { count: ADAM_HYPERPARAMETERS, bound },
        workgroups: [1, 1, 1],
      },
    ],
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
  return g.apply(clipNormKernel, [squares, hyperparameters], { bound })[0]!;
}
