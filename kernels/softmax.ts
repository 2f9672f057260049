import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, formatType, sameShape } from "./kernel.ts";
import { rowDispatch } from "./rows.ts";
import softmaxWgsl from "../shaders/softmax.wgsl";
import softmaxGradientWgsl from "../shaders/softmax-gradient.wgsl";

export const softmaxKernel: Kernel<NoAttributes, "x"> = {
  name: "softmax",
  inputs: { x: {} },
  infer({ x }) {
    if (x.shape.length === 0) throw new ShapeError(`x must have a last dimension, got ${formatType(x)}`);
    return { y: x };
  },
  plan: ({ inputs: { x }, capabilities }) => ({
    dispatches: [rowDispatch({ name: "softmax", text: softmaxWgsl }, x, capabilities)],
  }),
  cost: ({ x }) => ({ flops: elementCount(x.shape) * 22 }),
  gradient: ({ y: dy }, { g, outputs: { y } }) => ({ x: dy && g.apply(softmaxGradientKernel, { dy, y }, {}).dx }),
};

export const softmaxGradientKernel: Kernel<NoAttributes, "dy" | "y", "dx"> = {
  name: "softmax-gradient",
  inputs: { dy: {}, y: {} },
  outputs: ["dx"],
  infer({ dy, y }) {
    if (!sameShape(dy.shape, y.shape)) throw new ShapeError(`dy ${formatType(dy)} and y ${formatType(y)} must have one shape`);
    return { dx: y };
  },
  plan: ({ inputs: { y }, capabilities }) => ({
    dispatches: [rowDispatch({ name: "softmax-gradient", text: softmaxGradientWgsl }, y, capabilities)],
  }),
  cost: ({ dy }) => ({ flops: elementCount(dy.shape) * 4 }),
};

/** Softmax over the last dimension of x; f32, any shape and width. @throws ShapeError for a tensor without dimensions. */
export function softmax(g: Recorder, x: Value): Value {
  return g.apply(softmaxKernel, { x }, {}).y;
}
