import scatterIdsWgsl from "../shaders/scatter-ids.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need } from "./kernel.ts";
import { perElement } from "./per-element.ts";

export { gatherRows } from "./gather-rows.ts";

/** The adversarial slots: where in a prompt's ids the chosen tokens go, and which rows of a sequence belong to them. */
export const scatterIdsKernel: Kernel<Record<string, never>> = {
  name: "scatter-ids",
  infer(inputs) {
    const ids = need("scatter-ids", inputs, 0, "ids", undefined, ["u32"]);
    const chosen = need("scatter-ids", inputs, 1, "chosen", 1, ["u32"]);
    const positions = need("scatter-ids", inputs, 2, "positions", 1, ["u32"]);
    if (positions.shape[0]! % chosen.shape[0]! !== 0) {
      throw new ShapeError(
        "scatter-ids",
        `chosen ${formatType(chosen)} must have the length of positions ${formatType(positions)} or go into it evenly`,
      );
    }
    return [ids];
  },
  plan({ inputs }) {
    const params = { length: elementCount(inputs[0]!.shape), count: inputs[2]!.shape[0]!, chosenCount: inputs[1]!.shape[0]! };
    const bindings = { ids: { input: 0 }, chosen: { input: 1 }, positions: { input: 2 }, y: { output: 0 } };
    return { dispatches: [perElement({ name: "scatter-ids", text: scatterIdsWgsl }, params.length, {}, bindings, params)] };
  },
  cost: () => ({ flops: 0 }),
};

/**
 * `ids` with `chosen[j]` at flat position `positions[j]`. ids u32 [..], chosen u32 [k], positions u32 [k] or [n * k], over which chosen is
 * repeated -> u32 like ids.
 * Of equal positions the last wins; a position outside is ignored.
 * @throws ShapeError if the length of positions is no multiple of chosen's, or a dtype is not u32.
 */
export function scatterIds(g: Recorder, ids: Value, chosen: Value, positions: Value): Value {
  return g.apply(scatterIdsKernel, [ids, chosen, positions], {})[0]!;
}
