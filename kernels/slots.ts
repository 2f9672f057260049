import scatterIdsWgsl from "../shaders/scatter-ids.wgsl";
import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, formatType } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

/** The adversarial slots: where in a prompt's ids the chosen tokens go, and which rows of a sequence belong to them. */
export const scatterIdsKernel: Kernel<NoAttributes, "ids" | "chosen" | "positions"> = {
  name: "scatter-ids",
  inputs: { ids: { dtypes: ["u32"] }, chosen: { rank: 1, dtypes: ["u32"] }, positions: { rank: 1, dtypes: ["u32"] } },
  infer({ ids, chosen, positions }) {
    if (positions.shape[0]! % chosen.shape[0]! !== 0) {
      throw new ShapeError(
        `chosen ${formatType(chosen)} must have the length of positions ${formatType(positions)} or go into it evenly`,
      );
    }
    return { y: ids };
  },
  plan({ inputs: { ids, chosen, positions } }) {
    const params = { count: elementCount(ids.shape), positionCount: positions.shape[0]!, chosenCount: chosen.shape[0]! };
    return { dispatches: [pointwise({ name: "scatter-ids", text: scatterIdsWgsl }, params)] };
  },
  cost: () => ({ flops: 0 }),
};

/**
 * `ids` with `chosen[j]` at flat position `positions[j]`. ids u32 [..], chosen u32 [k], positions u32 [k] or [n * k], over which chosen is
 * repeated -> u32 like ids.
 * Of equal positions the last wins; a position outside is ignored.
 * @throws ShapeError if the length of positions is not a multiple of chosen's, or a dtype is not u32.
 */
export function scatterIds(g: Recorder, ids: Value, chosen: Value, positions: Value): Value {
  return g.apply(scatterIdsKernel, { ids, chosen, positions }, {}).y;
}
