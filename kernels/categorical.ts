import categoricalWgsl from "../shaders/categorical.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need, spread } from "./kernel.ts";

export const categoricalKernel: Kernel<Record<string, never>> = {
  name: "categorical",
  infer(inputs) {
    const weights = need("categorical", inputs, 0, "weights", 2);
    const uniforms = need("categorical", inputs, 1, "uniforms", 1);
    if (uniforms.shape[0] !== weights.shape[0]) {
      throw new ShapeError(
        "categorical",
        `uniforms ${formatType(uniforms)} must hold one number for each row of weights ${formatType(weights)}`,
      );
    }
    return [{ shape: [weights.shape[0]!], dtype: "u32" }];
  },
  plan({ inputs }) {
    const [rows, columns] = inputs[0]!.shape as [number, number];
    const bindings = { weights: { input: 0 }, uniforms: { input: 1 }, y: { output: 0 } };
    return {
      dispatches: [
        {
          shader: { name: "categorical", text: categoricalWgsl },
          defines: {},
          bindings,
          params: { rows, columns },
          workgroups: spread(rows),
        },
      ],
    };
  },
  cost: ([weights]) => ({ flops: elementCount(weights!.shape) }),
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
  return g.apply(categoricalKernel, [weights, uniforms], {})[0]!;
}
