import repackWgsl from "../shaders/repack.wgsl";
import {
  type Kernel, type NoAttributes, PANEL, type Recorder, ShapeError, type Value, formatType, isInPanels,
} from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";

/** Input x [.., K, N], f32, row by row or in panels. Output: the same numbers in the other order. */
export const repackKernel: Kernel<NoAttributes, "x"> = {
  name: "repack",
  inputs: { x: { reads: ["panels"] } },
  infer({ x }) {
    const [k = 0, n = 0] = x.shape.slice(-2);
    if (x.shape.length < 2 || k % 4 !== 0 || n % PANEL !== 0) {
      throw new ShapeError(`panels take multiples of 4 rows and of ${PANEL} columns, got ${formatType({ ...x, layout: "rows" })}`);
    }
    return { y: { ...x, layout: isInPanels(x) ? "rows" : "panels" } };
  },
  plan({ inputs: { x }, outputs: { y } }) {
    const params = { inputs: x.shape.at(-2)!, columns: x.shape.at(-1)! / 4 };
    return { dispatches: [vectorwise({ name: "repack", text: repackWgsl }, x, params, { defines: { PANELS: isInPanels(y) } })] };
  },
  cost: () => ({ flops: 0 }),
  gradient: ({ y: dy }, { g, inputs: { x } }) => ({ x: dy && (isInPanels(dy.type) === isInPanels(x.type) ? dy : repack(g, dy)) }),
};

/**
 * A weight-shaped tensor in panels (`Layout`) row by row, or the other way round; f32.
 * @throws ShapeError if its sizes do not fit panels
 */
export function repack(g: Recorder, x: Value): Value {
  return g.apply(repackKernel, { x }, {}).y;
}
