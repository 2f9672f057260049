import gatherRowsWgsl from "../shaders/gather-rows.wgsl";
import scatterRowsWgsl from "../shaders/scatter-rows.wgsl";
import {
  type Binding, type Dispatch, type Kernel, type NoAttributes, type Recorder, ShapeError, type TensorType, type Value, elementCount, f32,
  formatType, sameShape,
} from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";

/** Copies `count` rows, named by ids, out of one part of a table, whose first row is row `first` of `vocabulary`. */
export function gatherDispatch(
  table: TensorType,
  count: number,
  first: number,
  vocabulary: number,
  bindings: Readonly<Record<string, Binding>>,
): Dispatch {
  const [rows, hidden] = table.shape.slice(-2) as [number, number];
  const pack = packing(hidden);
  const width = hidden / pack.lanes;
  const defines = { ...pack.defines, HALF: table.dtype === "f16" };
  const params = { count: count * width, width, first, rows, vocabulary };
  return pointwise({ name: "gather-rows", text: gatherRowsWgsl }, params, { defines, bindings });
}

export const gatherRowsKernel: Kernel<NoAttributes, "x" | "positions"> = {
  name: "gather-rows",
  inputs: { x: { rank: 3 }, positions: { rank: 1, dtypes: ["u32"] } },
  infer({ x, positions }) {
    if (x.shape[0] !== 1) throw new ShapeError(`x must be one sequence [1, T, H], got ${formatType(x)}`);
    return { y: f32([positions.shape[0]!, x.shape[2]!]) };
  },
  plan({ inputs: { x, positions } }) {
    const bindings = { table: { input: "x" }, ids: { input: "positions" } };
    return { dispatches: [gatherDispatch(x, positions.shape[0]!, 0, x.shape[1]!, bindings)] };
  },
  cost: (_, { y }) => ({ flops: 0, bytes: 8 * elementCount(y.shape) }),
  gradient: ({ y: dy }, { g, inputs: { x, positions } }) => ({ x: dy && scatterRows(g, dy, positions, x.type.shape[1]!, true) }),
};

/**
 * Rows `positions` of the sequence `x`: f32 [1, T, H], u32 [k] -> f32 [k, H]; zeros for a position at or above T.
 * @throws ShapeError if x is not one sequence or positions not u32.
 */
export function gatherRows(g: Recorder, x: Value, positions: Value): Value {
  return g.apply(gatherRowsKernel, { x, positions }, {}).y;
}

/** `sequence`: the output is [1, rows, H], as `gatherRows` takes it, rather than the table [rows, H]. */
export const scatterRowsKernel: Kernel<{ readonly rows: number; readonly sequence: boolean }, "x" | "ids"> = {
  name: "scatter-rows",
  inputs: { x: {}, ids: { dtypes: ["u32"] } },
  infer({ x, ids }, { rows, sequence }) {
    if (!sameShape(x.shape.slice(0, -1), ids.shape)) {
      throw new ShapeError(`x ${formatType(x)} must have one row for each of ids ${formatType(ids)}`);
    }
    const hidden = x.shape.at(-1)!;
    return { y: f32(sequence ? [1, rows, hidden] : [rows, hidden]) };
  },
  plan({ inputs: { x, ids }, outputs: { y } }) {
    const hidden = x.shape.at(-1)!;
    const { lanes, defines } = packing(hidden);
    const params = { count: elementCount(y.shape) / lanes, width: hidden / lanes, idCount: elementCount(ids.shape) };
    return { dispatches: [pointwise({ name: "scatter-rows", text: scatterRowsWgsl }, params, { defines })] };
  },
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
  gradient({ y: dy }, { g, inputs: { ids }, attributes: { sequence } }) {
    if (!sequence) throw new ShapeError(`has no gradient rule for input "x" of a table of rows`);
    return { x: dy && gatherRows(g, dy, ids) };
  },
};

/**
 * The transpose of a gather: y[t, :] = sum of x[i, :] over ids[i] = t. x f32 [.., H], ids u32 [..] -> f32 [rows, H], or [1, rows, H] for a
 * sequence.
 * Meant for few ids: each output row looks at all of them.
 * @throws ShapeError if x and ids disagree.
 */
export function scatterRows(g: Recorder, x: Value, ids: Value, rows: number, sequence = false): Value {
  return g.apply(scatterRowsKernel, { x, ids }, { rows, sequence }).y;
}
