import upsampleWgsl from "../shaders/upsample.wgsl";
import upsampleGradientWgsl from "../shaders/upsample-gradient.wgsl";
import {
  type Dispatch, type Kernel, type Recorder, type ShaderSource, ShapeError, type TensorType, type Value, elementCount, f32,
} from "./kernel.ts";
import { pictureDispatch } from "./picture.ts";

type Resize = { readonly height: number; readonly width: number };

function checkSize(what: string, height: number, width: number): void {
  if (!Number.isInteger(height) || !Number.isInteger(width) || height < 1 || width < 1) {
    throw new ShapeError(`${what} must be two positive integers, got ${height} x ${width}`);
  }
}

/** A dispatch over the elements of `of`. The scale is rounded to float32 as torch's is, so that both shaders pick the same source pixel. */
function resizeDispatch(shader: ShaderSource, small: TensorType, large: TensorType, of: TensorType): Dispatch {
  const [, height, width] = small.shape as [number, number, number, number];
  const [, outHeight, outWidth] = large.shape as [number, number, number, number];
  const scales = { scaleY: Math.fround(height / outHeight), scaleX: Math.fround(width / outWidth) };
  return pictureDispatch(shader, of, { height, width, outHeight, outWidth, ...scales });
}

export const upsampleKernel: Kernel<Resize, "x"> = {
  name: "upsample",
  inputs: { x: { rank: 4 } },
  infer({ x }, { height, width }) {
    checkSize("the size to resize to", height, width);
    return { y: f32([x.shape[0]!, height, width, x.shape[3]!]) };
  },
  plan: ({ inputs: { x }, outputs: { y } }) => ({ dispatches: [resizeDispatch({ name: "upsample", text: upsampleWgsl }, x, y, y)] }),
  cost: () => ({ flops: 0 }),
  gradient({ y: dy }, { g, inputs: { x } }) {
    const [, height, width] = x.type.shape;
    return { x: dy && g.apply(upsampleGradientKernel, { dy }, { height: height!, width: width! }).dx };
  },
};

/** The transpose of `upsample`: sums the copies of each pixel. */
export const upsampleGradientKernel: Kernel<Resize, "dy", "dx"> = {
  name: "upsample-gradient",
  inputs: { dy: { rank: 4 } },
  outputs: ["dx"],
  infer({ dy }, { height, width }) {
    checkSize("the size before the resize", height, width);
    return { dx: f32([dy.shape[0]!, height, width, dy.shape[3]!]) };
  },
  plan: ({ inputs: { dy }, outputs: { dx } }) => ({
    dispatches: [resizeDispatch({ name: "upsample-gradient", text: upsampleGradientWgsl }, dx, dy, dx)],
  }),
  cost: ({ dy }) => ({ flops: elementCount(dy.shape) }),
  gradient({ dx: d }, { g, inputs: { dy } }) {
    const [, height, width] = dy.type.shape;
    return { dy: d && g.apply(upsampleKernel, { x: d }, { height: height!, width: width! }).y };
  },
};

/**
 * Nearest-neighbour resize of `x` [batch, height, width, C] (f32) to [batch, size[0], size[1], C]; without `size` to twice its height and
 * width.
 * Source pixel `floor(i * float32(in / out))`, as torch.nn.functional.interpolate(mode="nearest").
 * @throws ShapeError if x has not 4 dimensions or the size is not positive.
 */
export function upsampleNearest(g: Recorder, x: Value, size?: readonly [number, number]): Value {
  const [height, width] = size ?? [x.type.shape[1]! * 2, x.type.shape[2]! * 2];
  return g.apply(upsampleKernel, { x }, { height, width }).y;
}
