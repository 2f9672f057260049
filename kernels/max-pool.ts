import maxPoolWgsl from "../shaders/max-pool.wgsl";
import maxPoolGradientWgsl from "../shaders/max-pool-gradient.wgsl";
import {
  type Dispatch, type Kernel, type Recorder, type ShaderSource, ShapeError, type TensorType, type Value, elementCount, f32, formatType,
  sameShape,
} from "./kernel.ts";
import { pictureDispatch } from "./picture.ts";

export type PoolAttributes = { readonly kernel: number; readonly stride: number; readonly padding: number };

function pooled(x: TensorType, { kernel, stride, padding }: PoolAttributes): TensorType {
  if (![kernel, stride, padding].every(Number.isInteger) || kernel < 1 || stride < 1 || padding < 0 || padding * 2 > kernel) {
    throw new ShapeError(
      `kernel ${kernel}, stride ${stride}, padding ${padding}: kernel and stride must be positive and padding at most half the kernel`,
    );
  }
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const out = (n: number): number => Math.floor((n + 2 * padding - kernel) / stride) + 1;
  if (out(height) < 1 || out(width) < 1) {
    throw new ShapeError(`a window of ${kernel} with padding ${padding} does not fit into ${formatType(x)}`);
  }
  return f32([batch, out(height), out(width), channels]);
}

/** A dispatch over the elements of `of`. */
function poolDispatch(shader: ShaderSource, x: TensorType, y: TensorType, of: TensorType, attributes: PoolAttributes): Dispatch {
  const [, height, width] = x.shape as [number, number, number, number];
  const [, outHeight, outWidth] = y.shape as [number, number, number, number];
  const { kernel: size, stride, padding } = attributes;
  return pictureDispatch(shader, of, { height, width, outHeight, outWidth, size, stride, padding });
}

export const maxPoolKernel: Kernel<PoolAttributes, "x"> = {
  name: "max-pool",
  inputs: { x: { rank: 4 } },
  infer: ({ x }, attributes) => ({ y: pooled(x, attributes) }),
  plan: ({ inputs: { x }, outputs: { y }, attributes }) => ({
    dispatches: [poolDispatch({ name: "max-pool", text: maxPoolWgsl }, x, y, y, attributes)],
  }),
  cost: (_, { y }, { kernel }) => ({ flops: elementCount(y.shape) * kernel * kernel }),
  gradient({ y: dy }, { g, inputs: { x }, outputs: { y }, attributes }) {
    return { x: dy && g.apply(maxPoolGradientKernel, { x, y, dy }, attributes).dx };
  },
};

export const maxPoolGradientKernel: Kernel<PoolAttributes, "x" | "y" | "dy", "dx"> = {
  name: "max-pool-gradient",
  inputs: { x: { rank: 4 }, y: { rank: 4 }, dy: { rank: 4 } },
  outputs: ["dx"],
  infer({ x, ...of }, attributes) {
    const expected = pooled(x, attributes);
    for (const name of ["y", "dy"] as const) {
      if (!sameShape(of[name].shape, expected.shape)) {
        throw new ShapeError(`${name} is ${formatType(of[name])}, expected ${formatType(expected)} for x ${formatType(x)}`);
      }
    }
    return { dx: x };
  },
  plan: ({ inputs: { x, y }, attributes }) => ({
    dispatches: [poolDispatch({ name: "max-pool-gradient", text: maxPoolGradientWgsl }, x, y, x, attributes)],
  }),
  cost: ({ dy }, _, { kernel }) => ({ flops: elementCount(dy.shape) * kernel * kernel }),
};

/**
 * Largest of each kernel x kernel window of `x` [batch, height, width, C] (f32), with `padding` pixels of -infinity on every side ->
 * [batch, floor((height + 2 * padding - kernel) / stride) + 1, .., C]. A tie's gradient goes to the first pixel in row-major order, as in
 * torch.nn.MaxPool2d.
 * @throws ShapeError if padding is above half the kernel or no window fits.
 */
export function maxPool(g: Recorder, x: Value, attributes: PoolAttributes): Value {
  return g.apply(maxPoolKernel, { x }, attributes).y;
}
