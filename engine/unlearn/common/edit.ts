import type { WeightSource } from "../../nn/parameters.ts";
import { variantOf } from "../../train/variant.ts";
import type { Solved, UnlearnSession } from "../training.ts";
import { Factored, Matrix64 } from "./matrix64.ts";
import { tensorsOf } from "./trained-tensors.ts";

/** Positions of two texts' encodings, [n, D] each: those of the first are to have the values of the second. */
export interface Pair {
  readonly from: Matrix64;
  readonly to: Matrix64;
  readonly scale: number;
}

/** What a closed form makes of a weight W: W (matrix - sum of its share of each removal). */
export interface Edit {
  readonly matrix: Matrix64;
  readonly removals: readonly { readonly pair: Pair; readonly matrix: Matrix64 }[];
}

/**
 * The closed form of UCE (arXiv 2308.14761, eq. 7), W' = (lamb W + sum s v c^T) (lamb I + sum s c c^T)^-1. Since every v is W times
 * something, W' is W times one matrix [D, D] for all weights, which is solved for once, in float64.
 * @param removes "tensor": v = W g - u <u, W g> with u = W c over all positions as one vector of length 1, which differs by weight
 * @throws UsageError if the system cannot be solved
 */
export function solveEdit(width: number, lamb: number, pairs: readonly Pair[], kept: readonly Pair[], removes: boolean): Edit {
  const system = Matrix64.identity(width, lamb);
  const wanted = Matrix64.identity(width, lamb);
  for (const { from, to, scale } of [...pairs, ...kept]) {
    system.addOuter(from, from, scale);
    wanted.addOuter(to, from, scale);
  }
  const factored = new Factored(system, "the edit");
  const removals = removes
    ? pairs.map((pair) => ({ pair, matrix: factored.solveRows(new Matrix64(width, width).addOuter(pair.from, pair.from, pair.scale)) }))
    : [];
  return { matrix: factored.solveRows(wanted), removals };
}

/** The matrix [D, D] that a weight [out, D] is multiplied by. */
export function matrixFor(weight: Matrix64, { matrix, removals }: Edit): Matrix64 {
  if (removals.length === 0) return matrix;
  const whole = matrix.copy();
  for (const { pair, matrix: removal } of removals) {
    const [u, v] = [pair.from.times(weight.transposed()), pair.to.times(weight.transposed())];
    whole.add(removal, -u.dot(v) / u.dot(u));
  }
  return whole;
}

/** Weights [out, D] of the keys and values of all cross attentions, by name. */
export async function editedWeights({ base, settings }: UnlearnSession): Promise<Map<string, Matrix64>> {
  const { source, } = base.parts.unet.parameters;
  const weights = new Map<string, Matrix64>();
  for (const tensor of tensorsOf(base, settings.rule!).tensors) {
    const [out, width] = base.parts.unet.parameters.storedShape(tensor) as [number, number];
    weights.set(tensor, new Matrix64(out, width, Float64Array.from(await source.readFloat32(tensor))));
  }
  return weights;
}

/** A model that has these weights in place of its own. */
export function solved({ base, settings }: UnlearnSession, weights: ReadonlyMap<string, Matrix64>): Solved {
  const { source } = base.parts.unet.parameters;
  const rounded = new Map([...weights].map(([name, { data }]) => [name, Float32Array.from(data)]));
  const overlaid: WeightSource = {
    name: source.name,
    names: () => source.names(),
    shape: (tensor, expected) => source.shape(tensor, expected),
    readFloat32: (tensor) => {
      const own = rounded.get(tensor);
      return own ? Promise.resolve(own) : source.readFloat32(tensor);
    },
  };
  return {
    model: variantOf(base, {
      owns: (tensor, component) => component === "unet" && weights.has(tensor),
      source: (component) => (component === "unet" ? overlaid : undefined),
    }),
    trained: [tensorsOf(base, settings.rule!)],
    changed: [...rounded].map(([name, data]) => ({
      component: "unet", name,
      shape: base.parts.unet.parameters.storedShape(name),
      read: () => Promise.resolve(data),
    })),
  };
}
