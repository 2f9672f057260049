import repackWgsl from "../shaders/repack.wgsl";
import { type Kernel, type NoAttributes, PANEL, type Recorder, ShapeError, type Value, elementCount, formatType } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

/** Input x [.., K, N], f32, row by row or in panels. Output: the same numbers in the other order. */
export const repackKernel: Kernel<NoAttributes, "x"> = {
  name: "repack",
  inputs: { x: { reads: ["panels"] } },
  infer({ x: { panels, ...rows } }) {
    const [k = 0, n = 0] = rows.shape.slice(-2);
    if (rows.shape.length < 2 || k % 4 !== 0 || n % PANEL !== 0) {
      throw new ShapeError(`panels take multiples of 4 rows and of ${PANEL} columns, got ${formatType(rows)}`);
    }
    return { y: panels ? rows : { ...rows, panels: true } };
  },
  plan({ inputs: { x }, outputs: { y } }) {
    const count = elementCount(x.shape) / 4;
    const params = { count, inputs: x.shape.at(-2)!, columns: x.shape.at(-1)! / 4 };
    return { dispatches: [pointwise({ name: "repack", text: repackWgsl }, count, params, { defines: { PANELS: y.panels === true } })] };
  },
  cost: () => ({ flops: 0 }),
  gradient: ({ y: dy }, { g, inputs: { x } }) => ({ x: dy && (dy.type.panels === x.type.panels ? dy : repack(g, dy)) }),
};

/**
 * A weight-shaped tensor in panels (`TensorType.panels`) row by row, or the other way round; f32.
 * @throws ShapeError if its sizes do not fit panels
 */
export function repack(g: Recorder, x: Value): Value {
  return g.apply(repackKernel, { x }, {}).y;
}
