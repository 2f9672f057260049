import { type Kernel, type Recorder, type Shape, ShapeError, type Value, elementCount, formatType, sameShape } from "./kernel.ts";

/** The same memory under another shape; costs nothing. */
export const reshapeKernel: Kernel<{ shape: readonly number[] }> = {
  name: "reshape",
  view: true,
  readsPanels: [0],
  infer([x], { shape }) {
    if (x === undefined) throw new ShapeError("reshape", "input is missing");
    if (elementCount(x.shape) !== elementCount(shape)) {
      throw new ShapeError("reshape", `${formatType(x)} does not fit [${shape.join(",")}]`);
    }
    if (x.panels && !sameShape(x.shape.slice(-2), shape.slice(-2))) {
      throw new ShapeError("reshape", `${formatType(x)} does not keep its order as [${shape.join(",")}]`);
    }
    return [{ ...x, shape }];
  },
  gradient([dy], { g, inputs }) {
    return [dy && reshape(g, dy, inputs[0]!.type.shape)];
  },
};

/** `x` with the same elements in the same order under `shape`. @throws ShapeError if the counts differ. */
export function reshape(g: Recorder, x: Value, shape: Shape): Value {
  return sameShape(x.type.shape, shape) ? x : g.apply(reshapeKernel, [x], { shape: [...shape] })[0]!;
}
