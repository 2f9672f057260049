import windowWgsl from "../shaders/window.wgsl";
import {
  type Dispatch, type Kernel, type Recorder, type Shape, ShapeError, type TensorType, type Value, elementCount, f32, formatType,
} from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";

type SliceAttributes = { readonly axis: number; readonly start: number; readonly count: number };
type PadAttributes = { readonly axis: number; readonly before: number; readonly after: number };

/** Elements below one step along `axis`: the tensor as a matrix has `shape[axis] * inner` columns. */
export function innerSize(shape: Shape, axis: number): number {
  return elementCount(shape.slice(axis + 1));
}

function resized(x: TensorType, axis: number, size: number): TensorType {
  return f32(x.shape.map((d, i) => (i === axis ? size : d)));
}

function checkAxis(x: TensorType, axis: number): void {
  if (!Number.isInteger(axis) || axis < 0 || axis >= x.shape.length) {
    throw new ShapeError(`axis ${axis} is not one of ${formatType(x)}`);
  }
}

/** Row r, column c of the output is row r, column c + shift of the input, or 0 outside of it. */
function windowDispatch(x: TensorType, y: TensorType, axis: number, start: number): Dispatch {
  const inner = innerSize(x.shape, axis);
  const columns = x.shape[axis]! * inner;
  const outColumns = y.shape[axis]! * inner;
  const shift = start * inner;
  const { lanes, defines } = packing(columns, outColumns, shift);
  const params = { columns: columns / lanes, outColumns: outColumns / lanes, shift: shift / lanes };
  return pointwise({ name: "window", text: windowWgsl }, { count: elementCount(y.shape) / lanes, ...params }, { defines });
}

export const sliceKernel: Kernel<SliceAttributes, "x"> = {
  name: "slice",
  inputs: { x: {} },
  infer({ x }, { axis, start, count }) {
    checkAxis(x, axis);
    if (!Number.isInteger(start) || !Number.isInteger(count) || start < 0 || count < 1 || start + count > x.shape[axis]!) {
      throw new ShapeError(`[${start}, ${start + count}) is not a range of axis ${axis} of ${formatType(x)}`);
    }
    return { y: resized(x, axis, count) };
  },
  plan: ({ inputs: { x }, outputs: { y }, attributes: { axis, start } }) => ({ dispatches: [windowDispatch(x, y, axis, start)] }),
  cost: (_, { y }) => ({ flops: 0, bytes: 8 * elementCount(y.shape) }),
  gradient({ y: dy }, { g, inputs: { x }, attributes: { axis, start, count } }) {
    return { x: dy && pad(g, dy, axis, start, x.type.shape[axis]! - start - count) };
  },
};

export const padKernel: Kernel<PadAttributes, "x"> = {
  name: "pad",
  inputs: { x: {} },
  infer({ x }, { axis, before, after }) {
    checkAxis(x, axis);
    if (!Number.isInteger(before) || !Number.isInteger(after) || before < 0 || after < 0) {
      throw new ShapeError(`cannot pad ${formatType(x)} by ${before} before and ${after} after`);
    }
    return { y: resized(x, axis, x.shape[axis]! + before + after) };
  },
  plan: ({ inputs: { x }, outputs: { y }, attributes: { axis, before } }) => ({ dispatches: [windowDispatch(x, y, axis, -before)] }),
  cost: () => ({ flops: 0 }),
  gradient({ y: dy }, { g, inputs: { x }, attributes: { axis, before } }) {
    return { x: dy && slice(g, dy, before, x.type.shape[axis]!, axis) };
  },
};

/**
 * `count` entries of `x` (f32, any shape) from `start` along `axis` (the last one by default); its gradient is zero elsewhere.
 * @throws ShapeError if the range is empty or reaches outside.
 */
export function slice(g: Recorder, x: Value, start: number, count: number, axis = x.type.shape.length - 1): Value {
  return start === 0 && count === x.type.shape[axis] ? x : g.apply(sliceKernel, { x }, { axis, start, count }).y;
}

/**
 * Rows [start, start + count) of every sequence of `x` [B, T, C] or of the table [T, C] (f32) -> [B, count, C] or [count, C].
 * @throws ShapeError as `slice`.
 */
export function rows(g: Recorder, x: Value, start: number, count: number): Value {
  return slice(g, x, start, count, x.type.shape.length - 2);
}

/** `x` (f32, any shape) with `before` zeros in front and `after` behind along `axis`. @throws ShapeError if either is negative. */
export function pad(g: Recorder, x: Value, axis: number, before: number, after: number): Value {
  return before === 0 && after === 0 ? x : g.apply(padKernel, { x }, { axis, before, after }).y;
}
