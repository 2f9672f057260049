import {
  type Binding, type Capabilities, type Dispatch, type Kernel, type Plan, type Recorder, ShapeError, type Value, elementCount, f32,
  formatType, need, sameShape,
} from "./kernel.ts";
import { broadcastTo } from "./broadcast.ts";
import { scale } from "./elementwise.ts";
import sumWgsl from "../shaders/sum.wgsl";

/** Elements that one workgroup adds before a second one is worth its share of another dispatch. */
const ELEMENTS_PER_WORKGROUP = 8192;
const MAX_GROUPS = 256;

/**
 * The dispatches of `factor` times the sum of a measure over `elements` elements, output 0 being [1]: one workgroup, or many and one more.
 * Each thread adds a strided share of vec4s and a workgroup its threads' sums in a tree, so rounding grows with the logarithm of the size.
 * @param measure "x": the first input itself; "square": its square; "squared" or "absolute": (x - reference)^2 or |x - reference| of the
 *   first two inputs.
 * @param before what is added to the result, [1]
 */
export function planSum(
  elements: number,
  factor: number,
  measure: "x" | "square" | "squared" | "absolute",
  capabilities: Capabilities,
  before?: Binding,
): Plan {
  const most = capabilities.software ? 16 : MAX_GROUPS;
  const groups = Math.min(most, Math.ceil(elements / ELEMENTS_PER_WORKGROUP));
  const pair = measure === "squared" || measure === "absolute";
  const pass = (x: Binding, y: Binding, first: boolean, last: boolean): Dispatch => ({
    shader: { name: "sum", text: sumWgsl },
    defines: { PAIR: first && pair, SQUARED: first && measure.startsWith("square"), BEFORE: last && before !== undefined },
    bindings: { x, ...(first && pair && { reference: { input: 1 } }), ...(last && before && { before }), y },
    params: { elements: first ? elements : groups, groups: last ? 1 : groups, factor: last ? factor : 1 },
    workgroups: [last ? 1 : groups, 1, 1],
  });
  if (groups === 1) return { dispatches: [pass({ input: 0 }, { output: 0 }, true, true)] };
  return {
    dispatches: [pass({ input: 0 }, { scratch: 0 }, true, false), pass({ scratch: 0 }, { output: 0 }, false, true)],
    scratch: [groups * 4],
  };
}

export const sumKernel: Kernel<{ factor: number }> = {
  name: "sum",
  infer(inputs, { factor }) {
    if (!Number.isFinite(factor)) throw new ShapeError("sum", `factor must be a finite number, got ${factor}`);
    need("sum", inputs, 0, "x");
    return [f32([1])];
  },
  plan: ({ inputs, attributes, capabilities }) => planSum(elementCount(inputs[0]!.shape), attributes.factor, "x", capabilities),
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
  gradient([dy], { g, inputs, attributes }) {
    return [dy && broadcastTo(g, attributes.factor === 1 ? dy : scale(g, dy, attributes.factor), inputs[0]!.type.shape)];
  },
};

/** `factor` times the sum of all elements of x (f32, any shape) -> [1]. @throws ShapeError if the factor is not finite. */
export function sum(g: Recorder, x: Value, factor = 1): Value {
  return g.apply(sumKernel, [x], { factor })[0]!;
}

/** Mean of all elements of x (f32, any shape) -> [1]. */
export function mean(g: Recorder, x: Value): Value {
  return sum(g, x, 1 / elementCount(x.type.shape));
}

/** Inputs: x and, if it is there, what the sum goes on from [1]. */
export const sumOfSquaresKernel: Kernel<Record<string, never>> = {
  name: "sum-of-squares",
  readsPanels: [0],
  infer(inputs) {
    need("sum-of-squares", inputs, 0, "x", undefined, ["f32"], true);
    if (inputs[1] && !sameShape(inputs[1].shape, [1])) {
      throw new ShapeError("sum-of-squares", `goes on from f32[1], got ${formatType(inputs[1])}`);
    }
    return [f32([1])];
  },
  plan: ({ inputs: [x, before], capabilities }) => planSum(elementCount(x!.shape), 1, "square", capabilities, before && { input: 1 }),
  cost: ([x]) => ({ flops: 2 * elementCount(x!.shape) }),
};

/**
 * Sum of the squares of all elements of x (f32, any shape), plus `before` [1] -> [1]: the global norm of many tensors is the root of a
 * chain of these. It has no gradient.
 */
export function sumOfSquares(g: Recorder, x: Value, before?: Value): Value {
  return g.apply(sumOfSquaresKernel, [x, before], {})[0]!;
}
