import workgroupSumWgsl from "../shaders/lib/workgroup-sum.wgsl";
import simplexBisectionWgsl from "../shaders/simplex-bisection.wgsl";
import simplexProjectionWgsl from "../shaders/simplex-projection.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, spread } from "./kernel.ts";

/** "exact": the Euclidean projection. "reference": the original attack's bisection, which stops at 1e-5 in the shift. */
export type Projection = "exact" | "reference";

const SHADERS = {
  exact: { name: "simplex-projection", text: simplexProjectionWgsl },
  reference: { name: "simplex-bisection", text: simplexBisectionWgsl },
} as const;

export const simplexProjectionKernel: Kernel<{ readonly projection: Projection }, "a"> = {
  name: "simplex-projection",
  inputs: { a: { rank: 2 } },
  infer({ a }, { projection }) {
    if (!(projection in SHADERS)) throw new ShapeError(`projection must be "exact" or "reference", got "${projection}"`);
    return { y: a };
  },
  plan({ inputs: { a }, attributes: { projection } }) {
    const [rows, columns] = a.shape as [number, number];
    const defines = { LIBRARY: workgroupSumWgsl };
    return { dispatches: [{ shader: SHADERS[projection], defines, params: { rows, columns }, workgroups: spread(rows) }] };
  },
  // Passes over the row: some ten Newton steps or twenty halvings, about four operations an element each.
  cost: ({ a }, _, { projection }) => ({ flops: (projection === "exact" ? 40 : 80) * elementCount(a.shape) }),
};

/**
 * Each row of `a` (f32 [k, V]) projected onto the probability simplex: max(a - mu, 0) with sum 1. "exact": rows sum to 1 within 1e-6 for V
 * up to some 50,000; "reference": as the original attack (TextGrad.bisection of Diffusion-MU-Attack), rows sum to 1 within (positive
 * entries) * 1e-5.
 * @throws ShapeError if a is not a matrix.
 */
export function simplexProjection(g: Recorder, a: Value, projection: Projection = "exact"): Value {
  return g.apply(simplexProjectionKernel, { a }, { projection }).y;
}
