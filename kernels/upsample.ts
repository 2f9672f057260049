import upsampleWgsl from "../shaders/upsample.wgsl";
import upsampleGradientWgsl from "../shaders/upsample-gradient.wgsl";
import { type Kernel, type Recorder, ShapeError, type TensorType, type Value, elementCount, f32, need } from "./kernel.ts";
import { lanesFor, perElement } from "./per-element.ts";

type Resize = { readonly height: number; readonly width: number };

function checkSize(op: string, what: string, height: number, width: number): void {
  if (!Number.isInteger(height) || !Number.isInteger(width) || height < 1 || width < 1) {
    throw new ShapeError(op, `${what} must be two positive integers, got ${height} x ${width}`);
  }
}

/** Uniforms of both shaders. The scale is rounded to float32 as torch's is, so that both pick the same source pixel. */
function resizeParams(small: TensorType, large: TensorType, elements: number, lanes: number): Record<string, number> {
  const [, height, width, channels] = small.shape as [number, number, number, number];
  const [, outHeight, outWidth] = large.shape as [number, number, number, number];
  return {
    elements: elements / lanes,
    channels: channels / lanes,
    height,
    width,
    outHeight,
    outWidth,
    scaleY: Math.fround(height / outHeight),
    scaleX: Math.fround(width / outWidth),
  };
}

export const upsampleKernel: Kernel<Resize> = {
  name: "upsample",
  infer(inputs, { height, width }) {
    const x = need("upsample", inputs, 0, "x", 4);
    checkSize("upsample", "the size to resize to", height, width);
    return [f32([x.shape[0]!, height, width, x.shape[3]!])];
  },
  plan({ inputs, outputs }) {
    const [x, y] = [inputs[0]!, outputs[0]!];
    const lanes = lanesFor(x.shape[3]!);
    const params = resizeParams(x, y, elementCount(y.shape), lanes);
    return {
      dispatches: [
        perElement(
          { name: "upsample", text: upsampleWgsl },
          params["elements"]!,
          { VEC4: lanes === 4 },
          { x: { input: 0 }, y: { output: 0 } },
          params,
        ),
      ],
    };
  },
  cost: () => ({ flops: 0 }),
  gradient([dy], { g, inputs }) {
    const [, height, width] = inputs[0]!.type.shape;
    return [dy && g.apply(upsampleGradientKernel, [dy], { height: height!, width: width! })[0]];
  },
};

/** The transpose of `upsample`: sums the copies of each pixel. */
export const upsampleGradientKernel: Kernel<Resize> = {
  name: "upsample-gradient",
  infer(inputs, { height, width }) {
    const dy = need("upsample-gradient", inputs, 0, "dy", 4);
    checkSize("upsample-gradient", "the size before the resize", height, width);
    return [f32([dy.shape[0]!, height, width, dy.shape[3]!])];
  },
  plan({ inputs, outputs }) {
    const [dy, dx] = [inputs[0]!, outputs[0]!];
    const lanes = lanesFor(dy.shape[3]!);
    const params = resizeParams(dx, dy, elementCount(dx.shape), lanes);
    return {
      dispatches: [
        perElement(
          { name: "upsample-gradient", text: upsampleGradientWgsl },
          params["elements"]!,
          { VEC4: lanes === 4 },
          { dy: { input: 0 }, dx: { output: 0 } },
          params,
        ),
      ],
    };
  },
  cost: ([dy]) => ({ flops: elementCount(dy!.shape) }),
  gradient([d], { g, inputs }) {
    const [, height, width] = inputs[0]!.type.shape;
    return [d && g.apply(upsampleKernel, [d], { height: height!, width: width! })[0]];
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
  return g.apply(upsampleKernel, [x], { height, width })[0]!;
}
