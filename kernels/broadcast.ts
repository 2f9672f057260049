import {
  type Binding,
  type Dispatch,
  type Kernel,
  type Recorder,
  type Shape,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  sameShape,
} from "./kernel.ts";
import { packCount, packDefines, planElements } from "./rows.ts";
import broadcastAddWgsl from "../shaders/broadcast-add.wgsl";
import sumRowsWgsl from "../shaders/sum-rows.wgsl";

/**
 * Which dimensions a smaller tensor is repeated over:
 * "leading": it has the last dimensions of the larger one ([T, C] or [C] for [B, T, C]), or is a single number [1];
 * "middle": it is [B, C] for [B, .., C], repeated over everything between.
 */
export type Broadcast = "leading" | "middle";

/** `large` is made of blocks of rows of `width`; the k-th row of `small` belongs to every row of the k-th block. */
function repetition(op: string, large: TensorType, small: TensorType, over: Broadcast): { block: number; width: number } {
  const l = large.shape;
  const s = small.shape;
  if (over === "leading" && (sameShape(s, [1]) || (s.length <= l.length && sameShape(s, l.slice(l.length - s.length))))) {
    return { block: elementCount(l), width: elementCount(s) };
  }
  if (over === "middle" && l.length >= 2 && sameShape(s, [l[0]!, l.at(-1)!])) return { block: elementCount(l.slice(1)), width: l.at(-1)! };
  const rule = over === "leading" ? `its last dimensions or [1] (for [batch, channels] ask for "middle")` : "its first and last dimension";
  throw new ShapeError(
    op,
    `${formatType(small)} cannot be repeated over the ${over} dimensions of ${formatType(large)}: it must have ${rule}`,
  );
}

function planBroadcast(x: Binding | undefined, b: Binding, small: TensorType, large: TensorType, over: Broadcast): Dispatch {
  const elements = elementCount(large.shape);
  const { block, width } = repetition("broadcast", large, small, over);
  const count = Math.ceil(elements / 4);
  return {
    shader: { name: "broadcast-add", text: broadcastAddWgsl },
    defines: { ADD: x !== undefined, VEC4: width % 4 === 0 },
    bindings: { ...(x && { x }), b, y: { output: 0 } },
    params: { count, elements, block, width },
    workgroups: planElements(count),
  };
}

export const broadcastAddKernel: Kernel<{ over: Broadcast }> = {
  name: "broadcast-add",
  infer(inputs, { over }) {
    const x = need("broadcast-add", inputs, 0, "x");
    repetition("broadcast-add", x, need("broadcast-add", inputs, 1, "b"), over);
    return [x];
  },
  plan: ({ inputs, outputs, attributes }) => ({
    dispatches: [planBroadcast({ input: 0 }, { input: 1 }, inputs[1]!, outputs[0]!, attributes.over)],
  }),
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
  gradient([dy], { g, inputs, wanted, attributes }) {
    return [dy, dy && wanted[1] ? sumRows(g, dy, inputs[1]!.type.shape, attributes.over) : undefined];
  },
};

export const broadcastToKernel: Kernel<{ shape: readonly number[]; over: Broadcast }> = {
  name: "broadcast-to",
  infer(inputs, { shape, over }) {
    repetition("broadcast-to", f32(shape), need("broadcast-to", inputs, 0, "b"), over);
    return [f32(shape)];
  },
  plan: ({ inputs, outputs, attributes }) => ({
    dispatches: [planBroadcast(undefined, { input: 0 }, inputs[0]!, outputs[0]!, attributes.over)],
  }),
  gradient: ([dy], { g, inputs, attributes }) => [dy && sumRows(g, dy, inputs[0]!.type.shape, attributes.over)],
};

/** Up to this many rows are added by one thread; more are split into chunks whose sums a second dispatch adds. */
const ROWS_PER_THREAD = 64;

export const sumRowsKernel: Kernel<{ shape: readonly number[]; over: Broadcast }> = {
  name: "sum-rows",
  infer(inputs, { shape, over }) {
    repetition("sum-rows", need("sum-rows", inputs, 0, "x"), f32(shape), over);
    return [f32(shape)];
  },
  plan({ inputs, outputs, attributes }) {
    const { width, block } = repetition("sum-rows", inputs[0]!, outputs[0]!, attributes.over);
    const batches = elementCount(inputs[0]!.shape) / block;
    const rows = block / width;
    const pass = (x: Binding, y: Binding, rowsNow: number, chunks: number): Dispatch => ({
      shader: { name: "sum-rows", text: sumRowsWgsl },
      defines: packDefines(width),
      bindings: { x, y },
      params: {
        count: batches * chunks * packCount(width),
        rows: rowsNow,
        width: packCount(width),
        chunks,
        rowsPerChunk: Math.ceil(rowsNow / chunks),
      },
      workgroups: planElements(batches * chunks * packCount(width)),
    });
    if (rows <= ROWS_PER_THREAD) return { dispatches: [pass({ input: 0 }, { output: 0 }, rows, 1)] };
    const rowsPerChunk = Math.max(ROWS_PER_THREAD, Math.ceil(Math.sqrt(rows)));
    const chunks = Math.ceil(rows / rowsPerChunk);
    return {
      dispatches: [pass({ input: 0 }, { scratch: 0 }, rows, chunks), pass({ scratch: 0 }, { output: 0 }, chunks, 1)],
      scratch: [batches * chunks * width * 4],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
  gradient: ([dy], { g, inputs, attributes }) => [dy && broadcastTo(g, dy, inputs[0]!.type.shape, attributes.over)],
};

/**
 * x + b with the smaller b repeated; f32, result of x's shape. "leading" (the default): [B, T, C] + [T, C] or + [C];
 * "middle": [B, H, W, C] + [B, C], one row per batch entry. @throws ShapeError if b cannot be repeated so.
 */
export function broadcastAdd(g: Recorder, x: Value, b: Value, over: Broadcast = "leading"): Value {
  return g.apply(broadcastAddKernel, [x, b], { over })[0]!;
}

/** `b` repeated to `shape` by the rules of `broadcastAdd`; f32. @throws ShapeError if it cannot be. */
export function broadcastTo(g: Recorder, b: Value, shape: Shape, over: Broadcast = "leading"): Value {
  return g.apply(broadcastToKernel, [b], { shape: [...shape], over })[0]!;
}

/** The transpose of `broadcastTo`: x summed to the smaller `shape`; f32. @throws ShapeError if `shape` is not one that repeats to x's. */
export function sumRows(g: Recorder, x: Value, shape: Shape, over: Broadcast = "leading"): Value {
  return g.apply(sumRowsKernel, [x], { shape: [...shape], over })[0]!;
}
