import {
  type Kernel, type Recorder, type Shape, ShapeError, type Value, elementCount, formatType, isInPanels, sameShape,
} from "./kernel.ts";

/** The same memory under another shape; costs nothing. */
export const reshapeKernel: Kernel<{ shape: readonly number[] }, "x"> = {
  name: "reshape",
  inputs: { x: { dtypes: ["f32", "f16", "u32"], reads: ["panels"] } },
  layout: "view",
  infer({ x }, { shape }) {
    if (elementCount(x.shape) !== elementCount(shape)) throw new ShapeError(`${formatType(x)} does not fit [${shape.join(",")}]`);
    if (isInPanels(x) && !sameShape(x.shape.slice(-2), shape.slice(-2))) {
      throw new ShapeError(`${formatType(x)} does not keep its order as [${shape.join(",")}]`);
    }
    return { y: { ...x, shape } };
  },
  gradient: ({ y: dy }, { g, inputs: { x } }) => ({ x: dy && reshape(g, dy, x.type.shape) }),
};

/** `x` with the same elements in the same order under `shape`. @throws ShapeError if the counts differ. */
export function reshape(g: Recorder, x: Value, shape: Shape): Value {
  return sameShape(x.type.shape, shape) ? x : g.apply(reshapeKernel, { x }, { shape: [...shape] }).y;
}
