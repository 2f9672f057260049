import { gatherDispatch, scatterRows } from "./gather-rows.ts";
import { type Kernel, type Recorder, ShapeError, type TensorType, type Value, elementCount, f32, formatType, need } from "./kernel.ts";

/** Inputs: ids, then the parts of the table. */
export const embeddingKernel: Kernel<Record<string, never>> = {
  name: "embedding",
  infer(inputs) {
    const ids = need("embedding", inputs, 0, "ids", undefined, ["u32"]);
    const table = need("embedding", inputs, 1, "table", 2, ["f32", "f16"]);
    for (let part = 2; part < inputs.length; part++) {
      const type = need("embedding", inputs, part, `table part ${part - 1}`, 2, [table.dtype]);
      if (type.shape[1] !== table.shape[1]) {
        throw new ShapeError(
          "embedding",
          `table part ${part - 1} is ${formatType(type)}, part 0 is ${formatType(table)}: rows must have one length`,
        );
      }
    }
    return [f32([...ids.shape, table.shape[1]!])];
  },
  plan({ inputs }) {
    const tables = inputs.slice(1) as TensorType[];
    const vocabulary = tables.reduce((sum, t) => sum + t.shape[0]!, 0);
    let first = 0;
    const dispatches = tables.map((table, part) => {
      const dispatch = gatherDispatch(table, part + 1, 0, elementCount(inputs[0]!.shape), first, table.shape[0]!, vocabulary);
      first += table.shape[0]!;
      return dispatch;
    });
    return { dispatches };
  },
  cost: ([ids], [y]) => ({ flops: 0, bytes: 4 * elementCount(ids!.shape) + 8 * elementCount(y!.shape) }),
  gradient([dy], { g, inputs, wanted }) {
    if (!wanted.some((w, i) => w && i > 0)) return [];
    const table = inputs[1]!.type;
    if (inputs.length > 2 || table.dtype !== "f32") {
      throw new ShapeError(
        "embedding",
        `has no gradient rule for input "table" as ${formatType(table)} in ${inputs.length - 1} parts: give one f32 table`,
      );
    }
    return [undefined, dy && scatterRows(g, dy, inputs[0]!, table.shape[0]!)];
  },
};

/**
 * Rows of a table: y[.., :] = table[ids[..], :]. ids u32 [..], table f32 or f16 [V, H] -> f32 [.., H]. A table too large for one binding is
 * given as an array of consecutive row blocks, all of one dtype. An id at or above V, which the device cannot report, gives a row of zeros:
 * callers check ids that come from outside.
 * @throws ShapeError if the tables are not matrices of one row length, or ids is not u32.
 */
export function embedding(g: Recorder, table: Value | readonly Value[], ids: Value): Value {
  const parts = "type" in table ? [table] : table;
  return g.apply(embeddingKernel, [ids, ...parts], {})[0]!;
}
