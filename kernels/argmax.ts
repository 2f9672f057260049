import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, formatType } from "./kernel.ts";
import { planRows } from "./rows.ts";
import argmaxWgsl from "../shaders/argmax.wgsl";

/** The shader compares indices as f32, which is exact up to here. */
const MAX_WIDTH = 2 ** 24;

export const argmaxKernel: Kernel<NoAttributes, "x"> = {
  name: "argmax",
  inputs: { x: {} },
  infer({ x }) {
    const width = x.shape.at(-1);
    if (width === undefined || width < 1 || width > MAX_WIDTH) {
      throw new ShapeError(`the last dimension must be 1 to ${MAX_WIDTH}, got ${formatType(x)}`);
    }
    return { y: { shape: x.shape.length > 1 ? x.shape.slice(0, -1) : [1], dtype: "u32" } };
  },
  plan({ inputs: { x }, capabilities }) {
    const width = x.shape.at(-1)!;
    const rows = elementCount(x.shape.slice(0, -1));
    return {
      dispatches: [
        { shader: { name: "argmax", text: argmaxWgsl }, params: { rows, width }, ...planRows(capabilities, rows, width) },
      ],
    };
  },
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
};

/**
 * Index of the largest element over the last dimension: f32 [.., N] -> u32 [..] ([1] for a single row); of equal ones the lowest.
 * Piecewise constant, so it has no gradient. @throws ShapeError if N is 0 or above 2^24.
 */
export function argmax(g: Recorder, x: Value): Value {
  return g.apply(argmaxKernel, { x }, {}).y;
}
