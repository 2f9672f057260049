import transposeWgsl from "../shaders/transpose.wgsl";
import {
  type Kernel,
  type Recorder,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  spread,
} from "./kernel.ts";

const WORKGROUP = 64; // as in the shader

function matrix(inputs: readonly (TensorType | undefined)[]): TensorType {
  const x = need("transpose", inputs, 0, "x");
  if (x.shape.length < 2) throw new ShapeError("transpose", `input "x" needs at least two dimensions, got ${formatType(x)}`);
  return x;
}

/** Input x [..., M, N]; output [..., N, M]. */
export const transposeKernel: Kernel<Record<string, never>> = {
  name: "transpose",
  infer(inputs) {
    const { shape } = matrix(inputs);
    return [f32([...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!])];
  },
  plan({ inputs }) {
    const { shape } = inputs[0]!;
    const vec4 = shape.at(-1)! % 4 === 0 && shape.at(-2)! % 4 === 0;
    const side = vec4 ? 4 : 1;
    const elements = elementCount(shape) / (side * side);
    return {
      dispatches: [
        {
          shader: { name: "transpose", text: transposeWgsl },
          defines: { VEC4: vec4 },
          bindings: { x: { input: 0 }, y: { output: 0 } },
          params: { elements, rows: shape.at(-2)! / side, columns: shape.at(-1)! / side },
          workgroups: spread(Math.ceil(elements / WORKGROUP)),
        },
      ],
    };
  },
  cost: () => ({ flops: 0 }),
  gradient: ([dy], { g }) => [dy && transpose(g, dy)],
};

/** `x` [..., M, N] (f32) with its last two dimensions exchanged: [..., N, M]. @throws ShapeError if x has fewer than two dimensions. */
export function transpose(g: Recorder, x: Value): Value {
  return g.apply(transposeKernel, [x], {})[0]!;
}
