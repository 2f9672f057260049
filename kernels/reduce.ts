import {
  type Binding, type Capabilities, type Dispatch, type Kernel, type NoAttributes, type Plan, type Recorder, ShapeError, type Value,
  elementCount, f32, formatType, sameShape,
} from "./kernel.ts";
import { broadcastTo } from "./broadcast.ts";
import { scale } from "./elementwise.ts";
import sumWgsl from "../shaders/sum.wgsl";

/** Elements that one workgroup adds before a second one is worth its share of another dispatch. */
const ELEMENTS_PER_WORKGROUP = 8192;
const MAX_GROUPS = 256;

/**
 * The dispatches of `factor` times the sum of a measure over `elements` elements, the output y being [1]: one workgroup, or many and one
 * more. Each thread adds a strided share of vec4s and a workgroup its threads' sums in a tree, so rounding grows with the logarithm of the
 * size.
 * @param measure "x": the input x itself; "square": its square; "squared" or "absolute": (x - reference)^2 or |x - reference|
 * @param bindings of x and reference, where the op's inputs have other names
 * @param before the input `before` [1] is added to the result
 */
export function planSum(
  elements: number,
  factor: number,
  measure: "x" | "square" | "squared" | "absolute",
  capabilities: Capabilities,
  { bindings = {}, before = false }: { readonly bindings?: Readonly<Record<string, Binding>>; readonly before?: boolean } = {},
): Plan {
  const most = capabilities.software ? 16 : MAX_GROUPS;
  const groups = Math.min(most, Math.ceil(elements / ELEMENTS_PER_WORKGROUP));
  const pair = measure === "squared" || measure === "absolute";
  const pass = (bound: Readonly<Record<string, Binding>>, first: boolean, last: boolean): Dispatch => ({
    shader: { name: "sum", text: sumWgsl },
    defines: { PAIR: first && pair, SQUARED: first && measure.startsWith("square"), BEFORE: last && before },
    bindings: bound,
    params: { elements: first ? elements : groups, groups: last ? 1 : groups, factor: last ? factor : 1 },
    workgroups: [last ? 1 : groups, 1, 1],
  });
  if (groups === 1) return { dispatches: [pass(bindings, true, true)] };
  return {
    dispatches: [pass({ ...bindings, y: { scratch: 0 } }, true, false), pass({ x: { scratch: 0 } }, false, true)],
    scratch: [groups * 4],
  };
}

export const sumKernel: Kernel<{ factor: number }, "x"> = {
  name: "sum",
  inputs: { x: {} },
  infer(_, { factor }) {
    if (!Number.isFinite(factor)) throw new ShapeError(`factor must be a finite number, got ${factor}`);
    return { y: f32([1]) };
  },
  plan: ({ inputs: { x }, attributes: { factor }, capabilities }) => planSum(elementCount(x.shape), factor, "x", capabilities),
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
  gradient({ y: dy }, { g, inputs: { x }, attributes: { factor } }) {
    return { x: dy && broadcastTo(g, factor === 1 ? dy : scale(g, dy, factor), x.type.shape) };
  },
};

/** `factor` times the sum of all elements of x (f32, any shape) -> [1]. @throws ShapeError if the factor is not finite. */
export function sum(g: Recorder, x: Value, factor = 1): Value {
  return g.apply(sumKernel, { x }, { factor }).y;
}

/** `before` [1]: what the sum goes on from. */
export const sumOfSquaresKernel: Kernel<NoAttributes, "x", "y", "before"> = {
  name: "sum-of-squares",
  inputs: { x: { reads: ["panels"] }, before: { optional: true } },
  infer({ before }) {
    if (before && !sameShape(before.shape, [1])) throw new ShapeError(`goes on from f32[1], got ${formatType(before)}`);
    return { y: f32([1]) };
  },
  plan({ inputs: { x, before }, capabilities }) {
    return planSum(elementCount(x.shape), 1, "square", capabilities, { before: before !== undefined });
  },
  cost: ({ x }) => ({ flops: 2 * elementCount(x.shape) }),
};

/**
 * Sum of the squares of all elements of x (f32, any shape), plus `before` [1] -> [1]: the global norm of many tensors is the root of a
 * chain of these. It has no gradient.
 */
export function sumOfSquares(g: Recorder, x: Value, before?: Value): Value {
  return g.apply(sumOfSquaresKernel, { x, before }, {}).y;
}
