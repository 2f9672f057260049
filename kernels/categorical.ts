import categoricalWgsl from "../shaders/categorical.wgsl";
import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, formatType, spread } from "./kernel.ts";

export const categoricalKernel: Kernel<NoAttributes, "weights" | "uniforms"> = {
  name: "categorical",
  inputs: { weights: { rank: 2 }, uniforms: { rank: 1 } },
  infer({ weights, uniforms }) {
    if (uniforms.shape[0] !== weights.shape[0]) {
      throw new ShapeError(`uniforms ${formatType(uniforms)} must hold one number for each row of weights ${formatType(weights)}`);
    }
    return { y: { shape: [weights.shape[0]!], dtype: "u32" } };
  },
  plan({ inputs: { weights } }) {
    const [rows, columns] = weights.shape as [number, number];
    const shader = { name: "categorical", text: categoricalWgsl };
    return { dispatches: [{ shader, defines: {}, params: { rows, columns }, workgroups: spread(rows) }] };
  },
  cost: ({ weights }) => ({ flops: elementCount(weights.shape) }),
};

/**
 * One index per row, drawn with probability weights / sum(weights) by inverse CDF: the first i whose cumulative weight exceeds uniforms *
 * sum.
 * weights f32 [k, V], not negative and with a finite sum; uniforms f32 [k] in [0, 1) -> u32 [k]. An index of weight 0 is never
 * drawn; a row that sums to 0 gives its (first) largest element. The same inputs always give the same indices.
 *
 * torch.multinomial consumes its generator differently (an exponential draw per element): its choices for a seed are not reproduced.
 * @throws ShapeError if the row counts differ.
 */
export function categorical(g: Recorder, weights: Value, uniforms: Value): Value {
  return g.apply(categoricalKernel, { weights, uniforms }, {}).y;
}
