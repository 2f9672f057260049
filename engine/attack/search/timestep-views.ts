import { broadcastTo, sumRows } from "../../../kernels/broadcast.ts";
import { concat } from "../../../kernels/concat.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import { linearCombination } from "../../../kernels/linear-combination.ts";
import { reshape } from "../../../kernels/reshape.ts";
import { slice } from "../../../kernels/slice.ts";
import type { Graph } from "../../runtime/graph.ts";

/**
 * a * x + b * y with coefficients of its own for each view: rows of a batch are views x restarts, view by view. The coefficients are an
 * input f32 [2 * views] of that name; x and y f32 [views * restarts, ..].
 */
export function combineViews(g: Graph, name: string, views: number, x: Value, y: Value): Value {
  const coefficients = g.input(name, f32([2 * views]));
  const restarts = x.type.shape[0]! / views;
  const parts = Array.from({ length: views }, (_, n) =>
    linearCombination(
      g,
      slice(g, coefficients, 2 * n, 2),
      [x, y].map((t) => slice(g, t, n * restarts, restarts, 0)),
    ),
  );
  return parts.reduce((joined, part) => concat(g, joined, part, 0));
}

/** Rows f32 [n, ..] once for every view, view by view: [views * n, ..]. */
export function repeatForViews(g: Graph, x: Value, views: number): Value {
  if (views === 1) return x;
  const [rows, ...rest] = x.type.shape as readonly [number, ...number[]];
  return reshape(g, broadcastTo(g, x, [views, rows, ...rest]), [views * rows, ...rest]);
}

/** The sum over the views of f32 [views * n, width], which lie view by view: [n, width]. */
export function sumOverViews(g: Graph, x: Value, views: number): Value {
  if (views === 1) return x;
  const [rows, width] = x.type.shape as readonly [number, number];
  return sumRows(g, reshape(g, x, [views, rows / views, width]), [rows / views, width]);
}

/**
 * What `combineViews` takes to noise a clean picture at each view's timestep, and to make the velocity there.
 * @throws RangeError for a timestep outside the schedule
 */
export function viewCoefficients(
  alphasCumprod: Float32Array,
  timesteps: readonly number[],
): { readonly noising: Float32Array<ArrayBuffer>; readonly velocity: Float32Array<ArrayBuffer> } {
  const pairs = timesteps.map((timestep) => {
    const cumulative = alphasCumprod[timestep];
    if (cumulative === undefined) throw new RangeError(`timestep ${timestep} must be a whole number from 0 to ${alphasCumprod.length - 1}`);
    return [Math.sqrt(cumulative), Math.sqrt(1 - cumulative)] as const;
  });
  return { noising: Float32Array.from(pairs.flat()), velocity: Float32Array.from(pairs.flatMap(([signal, sigma]) => [-sigma, signal])) };
}

/** Each view's item once for every restart, in the order of the batch's rows. */
export function perRow<T>(views: readonly T[], restarts: number): T[] {
  return views.flatMap((view) => new Array<T>(restarts).fill(view));
}
