import gatherRowsWgsl from "../shaders/gather-rows.wgsl";
import scatterRowsWgsl from "../shaders/scatter-rows.wgsl";
import {
  type Dispatch,
  type Kernel,
  type Recorder,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  sameShape,
} from "./kernel.ts";
import { lanesFor, perElement } from "./per-element.ts";

/** Copies the rows named by input `idsInput` out of one part of a table, whose first row is row `first` of `vocabulary`. */
export function gatherDispatch(
  table: TensorType,
  tableInput: number,
  idsInput: number,
  count: number,
  first: number,
  rows: number,
  vocabulary: number,
): Dispatch {
  const hidden = table.shape[table.shape.length - 1]!;
  const lanes = lanesFor(hidden);
  const params = { elements: (count * hidden) / lanes, width: hidden / lanes, first, rows, vocabulary };
  const bindings = { table: { input: tableInput }, ids: { input: idsInput }, y: { output: 0 } };
  return perElement(
    { name: "gather-rows", text: gatherRowsWgsl },
    params.elements,
    { VEC4: lanes === 4, HALF: table.dtype === "f16" },
    bindings,
    params,
  );
}

export const gatherRowsKernel: Kernel<Record<string, never>> = {
  name: "gather-rows",
  infer(inputs) {
    const x = need("gather-rows", inputs, 0, "x", 3);
    const positions = need("gather-rows", inputs, 1, "positions", 1, ["u32"]);
    if (x.shape[0] !== 1) throw new ShapeError("gather-rows", `x must be one sequence [1, T, H], got ${formatType(x)}`);
    return [f32([positions.shape[0]!, x.shape[2]!])];
  },
  plan({ inputs }) {
    const length = inputs[0]!.shape[1]!;
    return { dispatches: [gatherDispatch(inputs[0]!, 0, 1, inputs[1]!.shape[0]!, 0, length, length)] };
  },
  cost: (_, [y]) => ({ flops: 0, bytes: 8 * elementCount(y!.shape) }),
  gradient([dy], { g, inputs }) {
    const x = inputs[0]!.type;
    if (!dy) return [undefined];
    return [scatterRows(g, dy, inputs[1]!, x.shape[1]!, true)];
  },
};

/**
 * Rows `positions` of the sequence `x`: f32 [1, T, H], u32 [k] -> f32 [k, H]; zeros for a position at or above T.
 * @throws ShapeError if x is not one sequence or positions not u32.
 */
export function gatherRows(g: Recorder, x: Value, positions: Value): Value {
  return g.apply(gatherRowsKernel, [x, positions], {})[0]!;
}

/** `sequence`: the output is [1, rows, H], as `gatherRows` takes it, rather than the table [rows, H]. */
export const scatterRowsKernel: Kernel<{ readonly rows: number; readonly sequence: boolean }> = {
  name: "scatter-rows",
  infer(inputs, { rows, sequence }) {
    const x = need("scatter-rows", inputs, 0, "x");
    const ids = need("scatter-rows", inputs, 1, "ids", undefined, ["u32"]);
    if (!sameShape(x.shape.slice(0, -1), ids.shape)) {
      throw new ShapeError("scatter-rows", `x ${formatType(x)} must have one row for each of ids ${formatType(ids)}`);
    }
    const hidden = x.shape[x.shape.length - 1]!;
    return [f32(sequence ? [1, rows, hidden] : [rows, hidden])];
  },
  plan({ inputs, outputs }) {
    const [x, ids, y] = [inputs[0]!, inputs[1]!, outputs[0]!];
    const hidden = x.shape[x.shape.length - 1]!;
    const lanes = lanesFor(hidden);
    const params = { elements: elementCount(y.shape) / lanes, width: hidden / lanes, count: elementCount(ids.shape) };
    return {
      dispatches: [
        perElement(
          { name: "scatter-rows", text: scatterRowsWgsl },
          params.elements,
          { VEC4: lanes === 4 },
          { x: { input: 0 }, ids: { input: 1 }, y: { output: 0 } },
          params,
        ),
      ],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
  gradient([dy], { g, inputs, attributes: { sequence } }) {
    if (!dy) return [undefined];
    if (!sequence) throw new ShapeError("scatter-rows", `has no gradient rule for input "x" of a table of rows`);
    return [gatherRows(g, dy, inputs[1]!)];
  },
};

/**
 * The transpose of a gather: y[t, :] = sum of x[i, :] over ids[i] = t. x f32 [.., H], ids u32 [..] -> f32 [rows, H], or [1, rows, H] for a
 * sequence.
 * Meant for few ids: each output row looks at all of them.
 * @throws ShapeError if x and ids disagree.
 */
export function scatterRows(g: Recorder, x: Value, ids: Value, rows: number, sequence = false): Value {
  return g.apply(scatterRowsKernel, [x, ids], { rows, sequence })[0]!;
}
