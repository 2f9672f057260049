import {
  type Binding, type Dispatch, type Kernel, type Recorder, type Shape, ShapeError, type TensorType, type Value, elementCount, f32,
  formatType, sameShape,
} from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise, vectorwise } from "./pointwise.ts";
import broadcastAddWgsl from "../shaders/broadcast-add.wgsl";
import chunkWgsl from "../shaders/lib/chunk.wgsl";
import sumRowsWgsl from "../shaders/sum-rows.wgsl";

/**
 * Which dimensions a smaller tensor is repeated over:
 * "leading": it has the last dimensions of the larger one ([T, C] or [C] for [B, T, C]), or is a single number [1];
 * "middle": it is [B, C] for [B, .., C], repeated over everything between.
 */
export type Broadcast = "leading" | "middle";

/** `large` is made of blocks of rows of `width`; the k-th row of `small` belongs to every row of the k-th block. */
function repetition(large: TensorType, small: TensorType, over: Broadcast): { block: number; width: number } {
  const l = large.shape;
  const s = small.shape;
  if (over === "leading" && (sameShape(s, [1]) || (s.length <= l.length && sameShape(s, l.slice(l.length - s.length))))) {
    return { block: elementCount(l), width: elementCount(s) };
  }
  if (over === "middle" && l.length >= 2 && sameShape(s, [l[0]!, l.at(-1)!])) return { block: elementCount(l.slice(1)), width: l.at(-1)! };
  const rule = over === "leading" ? `its last dimensions or [1] (for [batch, channels] ask for "middle")` : "its first and last dimension";
  throw new ShapeError(
    `${formatType(small)} cannot be repeated over the ${over} dimensions of ${formatType(large)}: it must have ${rule}`,
  );
}

function broadcastDispatch(b: TensorType, y: TensorType, over: Broadcast, adds: boolean): Dispatch {
  const elements = elementCount(y.shape);
  const { block, width } = repetition(y, b, over);
  const defines = { ADD: adds, VEC4: width % 4 === 0 };
  return vectorwise({ name: "broadcast-add", text: broadcastAddWgsl }, y, { elements, block, width }, { defines });
}

export const broadcastAddKernel: Kernel<{ over: Broadcast }, "x" | "b"> = {
  name: "broadcast-add",
  inputs: { x: {}, b: {} },
  infer({ x, b }, { over }) {
    repetition(x, b, over);
    return { y: x };
  },
  plan: ({ inputs: { b }, outputs: { y }, attributes: { over } }) => ({ dispatches: [broadcastDispatch(b, y, over, true)] }),
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
  gradient({ y: dy }, { g, inputs: { b }, wanted, attributes: { over } }) {
    return { x: dy, b: dy && wanted.b ? sumRows(g, dy, b.type.shape, over) : undefined };
  },
};

export const broadcastToKernel: Kernel<{ shape: readonly number[]; over: Broadcast }, "b"> = {
  name: "broadcast-to",
  inputs: { b: {} },
  infer({ b }, { shape, over }) {
    repetition(f32(shape), b, over);
    return { y: f32(shape) };
  },
  plan: ({ inputs: { b }, outputs: { y }, attributes: { over } }) => ({ dispatches: [broadcastDispatch(b, y, over, false)] }),
  gradient: ({ y: dy }, { g, inputs: { b }, attributes: { over } }) => ({ b: dy && sumRows(g, dy, b.type.shape, over) }),
};

/** Up to this many rows are added by one thread; more are split into chunks whose sums a second dispatch adds. */
const ROWS_PER_THREAD = 64;

export const sumRowsKernel: Kernel<{ shape: readonly number[]; over: Broadcast }, "x"> = {
  name: "sum-rows",
  keepsF32: true,
  inputs: { x: {} },
  infer({ x }, { shape, over }) {
    repetition(x, f32(shape), over);
    return { y: f32(shape) };
  },
  plan({ inputs, outputs, attributes }) {
    const { width, block } = repetition(inputs.x, outputs.y, attributes.over);
    const batches = elementCount(inputs.x.shape) / block;
    const rows = block / width;
    const pack = packing(width);
    const columns = width / pack.lanes;
    const pass = (positions: number, chunks: number, bindings: Record<string, Binding>): Dispatch => {
      const params = { count: batches * chunks * columns, positions, columns, chunks, perChunk: Math.ceil(positions / chunks) };
      return pointwise({ name: "sum-rows", text: sumRowsWgsl }, params, { defines: { ...pack.defines, CHUNK: chunkWgsl }, bindings });
    };
    if (rows <= ROWS_PER_THREAD) return { dispatches: [pass(rows, 1, {})] };
    const rowsPerChunk = Math.max(ROWS_PER_THREAD, Math.ceil(Math.sqrt(rows)));
    const chunks = Math.ceil(rows / rowsPerChunk);
    return {
      dispatches: [pass(rows, chunks, { y: { scratch: 0 } }), pass(chunks, 1, { x: { scratch: 0 } })],
      scratch: [batches * chunks * width * 4],
    };
  },
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
  gradient: ({ y: dy }, { g, inputs: { x }, attributes: { over } }) => ({ x: dy && broadcastTo(g, dy, x.type.shape, over) }),
};

/**
 * x + b with the smaller b repeated; f32, result of x's shape. "leading" (the default): [B, T, C] + [T, C] or + [C];
 * "middle": [B, H, W, C] + [B, C], one row per batch entry. @throws ShapeError if b cannot be repeated so.
 */
export function broadcastAdd(g: Recorder, x: Value, b: Value, over: Broadcast = "leading"): Value {
  return g.apply(broadcastAddKernel, { x, b }, { over }).y;
}

/** `b` repeated to `shape` by the rules of `broadcastAdd`; f32. @throws ShapeError if it cannot be. */
export function broadcastTo(g: Recorder, b: Value, shape: Shape, over: Broadcast = "leading"): Value {
  return g.apply(broadcastToKernel, { b }, { shape: [...shape], over }).y;
}

/** The transpose of `broadcastTo`: x summed to the smaller `shape`; f32. @throws ShapeError if `shape` is not one that repeats to x's. */
export function sumRows(g: Recorder, x: Value, shape: Shape, over: Broadcast = "leading"): Value {
  return g.apply(sumRowsKernel, { x }, { shape: [...shape], over }).y;
}
