import { sumRows } from "./broadcast.ts";
import { multiply } from "./elementwise.ts";
import { fill } from "./fill.ts";
import type { Recorder, Value } from "./kernel.ts";

/**
 * Gradients for the scale and shift of a norm y = normalized * gamma + beta, from the cotangent of y: sums over all rows.
 * @param normalize records the same norm with the given scale and shift
 */
export function normParameterGradients(
  g: Recorder,
  dy: Value,
  wanted: { readonly gamma: boolean; readonly beta: boolean },
  normalize: (gamma: Value, beta: Value) => Value,
): { gamma: Value | undefined; beta: Value | undefined } {
  const width = [dy.type.shape.at(-1)!];
  const gamma = (): Value => sumRows(g, multiply(g, dy, normalize(fill(g, width, 1), fill(g, width, 0))), width);
  return { gamma: wanted.gamma ? gamma() : undefined, beta: wanted.beta ? sumRows(g, dy, width) : undefined };
}
