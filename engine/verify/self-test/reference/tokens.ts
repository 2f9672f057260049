import type { Array64 } from "../array64.ts";

/** Rows of a table by their ids, given the output's shape. */
export function gatherReference(table: Array64, ids: Array64, shape: readonly number[]): Array64 {
  const hidden = table.shape[table.shape.length - 1]!;
  const data = new Float64Array(ids.data.length * hidden);
  ids.data.forEach((id, i) => data.set(table.data.subarray(id * hidden, (id + 1) * hidden), i * hidden));
  return { shape, data };
}
