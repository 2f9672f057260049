import { gatherDispatch, scatterRows } from "./gather-rows.ts";
import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, f32, formatType } from "./kernel.ts";

type Part = `table${number}`;

/** The table comes in one part or more. */
export const embeddingKernel: Kernel<NoAttributes, "ids" | Part> = {
  name: "embedding",
  inputs: { ids: { dtypes: ["u32"] } },
  rest: { table: { rank: 2, dtypes: ["f32", "f16"] } },
  infer({ ids, ...parts }) {
    const [table, ...more] = Object.values(parts);
    if (!table) throw new ShapeError(`input "table" is missing`);
    more.forEach((type, i) => {
      if (type.shape[1] !== table.shape[1] || type.dtype !== table.dtype) {
        throw new ShapeError(
          `table part ${i + 1} is ${formatType(type)}, part 0 is ${formatType(table)}: rows must have one length and one dtype`,
        );
      }
    });
    return { y: f32([...ids.shape, table.shape[1]!]) };
  },
  plan({ inputs: { ids, ...parts } }) {
    const tables = Object.entries(parts);
    const vocabulary = tables.reduce((sum, [, t]) => sum + t.shape[0]!, 0);
    let first = 0;
    const dispatches = tables.map(([name, table]) => {
      const dispatch = gatherDispatch(table, elementCount(ids.shape), first, vocabulary, { table: { input: name } });
      first += table.shape[0]!;
      return dispatch;
    });
    return { dispatches };
  },
  cost: ({ ids }, { y }) => ({ flops: 0, bytes: 4 * elementCount(ids.shape) + 8 * elementCount(y.shape) }),
  gradient({ y: dy }, { g, inputs: { ids, ...parts }, wanted }) {
    const names = Object.keys(parts) as Part[];
    if (!names.some((name) => wanted[name])) return {};
    const count = names.length;
    const table = parts.table0!.type;
    if (count > 1 || table.dtype !== "f32") {
      throw new ShapeError(`has no gradient rule for input "table" as ${formatType(table)} in ${count} parts: give one f32 table`);
    }
    return { table0: dy && scatterRows(g, dy, ids, table.shape[0]!) };
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
  return g.apply(embeddingKernel, { ids, ...Object.fromEntries(parts.map((part, i) => [`table${i}` as const, part])) }, {}).y;
}
