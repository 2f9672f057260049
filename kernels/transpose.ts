import transposeWgsl from "../shaders/transpose.wgsl";
import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, f32, formatType } from "./kernel.ts";
import { pointwise } from "./pointwise.ts";

/** x [..., M, N]; y [..., N, M]. */
export const transposeKernel: Kernel<NoAttributes, "x"> = {
  name: "transpose",
  inputs: { x: {} },
  infer({ x }) {
    if (x.shape.length < 2) throw new ShapeError(`input "x" needs at least two dimensions, got ${formatType(x)}`);
    return { y: f32([...x.shape.slice(0, -2), x.shape.at(-1)!, x.shape.at(-2)!]) };
  },
  plan({ inputs: { x } }) {
    const [rows, columns] = x.shape.slice(-2) as [number, number];
    const vec4 = rows % 4 === 0 && columns % 4 === 0;
    const side = vec4 ? 4 : 1;
    const params = { count: elementCount(x.shape) / (side * side), rows: rows / side, columns: columns / side };
    return { dispatches: [pointwise({ name: "transpose", text: transposeWgsl }, params, { defines: { VEC4: vec4 } })] };
  },
  cost: () => ({ flops: 0 }),
  gradient: ({ y: dy }, { g }) => ({ x: dy && transpose(g, dy) }),
};

/** `x` [..., M, N] (f32) with its last two dimensions exchanged: [..., N, M]. @throws ShapeError if x has fewer than two dimensions. */
export function transpose(g: Recorder, x: Value): Value {
  return g.apply(transposeKernel, { x }, {}).y;
}
