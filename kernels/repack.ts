import repackWgsl from "../shaders/repack.wgsl";
import { type Kernel, PANEL, type Recorder, ShapeError, type Value, elementCount, formatType, need } from "./kernel.ts";
import { planElements } from "./rows.ts";

/** Input x [.., K, N], f32, row by row or in panels. Output: the same numbers in the other order. */
export const repackKernel: Kernel<Record<string, never>> = {
  name: "repack",
  readsPanels: [0],
  infer(inputs) {
    const { panels, ...rows } = need("repack", inputs, 0, "x", undefined, ["f32"], true);
    const [k = 0, n = 0] = rows.shape.slice(-2);
    if (rows.shape.length < 2 || k % 4 !== 0 || n % PANEL !== 0) {
      throw new ShapeError("repack", `panels take multiples of 4 rows and of ${PANEL} columns, got ${formatType(rows)}`);
    }
    return [panels ? rows : { ...rows, panels: true }];
  },
  plan({ inputs, outputs }) {
    const { shape } = inputs[0]!;
    const count = elementCount(shape) / 4;
    return {
      dispatches: [
        {
          shader: { name: "repack", text: repackWgsl },
          defines: { PANELS: outputs[0]!.panels === true },
          bindings: { x: { input: 0 }, y: { output: 0 } },
          params: { count, inputs: shape.at(-2)!, columns: shape.at(-1)! / 4 },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: () => ({ flops: 0 }),
  gradient: ([dy], { g, inputs }) => [dy && (dy.type.panels === inputs[0]!.type.panels ? dy : repack(g, dy))],
};

/**
 * A weight-shaped tensor in panels (`TensorType.panels`) row by row, or the other way round; f32.
 * @throws ShapeError if its sizes do not fit panels
 */
export function repack(g: Recorder, x: Value): Value {
  return g.apply(repackKernel, [x], {})[0]!;
}
