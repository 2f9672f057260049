import averagePool2dWgsl from "../shaders/average-pool-2d.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32 } from "./kernel.ts";
import { pictureDispatch } from "./picture.ts";

type Attributes = {
  /** Side of the window; odd. */
  readonly kernel: number;
  /** Pixels outside of the picture count as zeros (torch's count_include_pad); otherwise only pixels inside are averaged. */
  readonly countPadding: boolean;
  /** Each pixel is divided by the pixels of its own window before summing, not the sum by those of its: the gradient. */
  readonly transposed: boolean;
};

export const averagePool2dKernel: Kernel<Attributes, "x"> = {
  name: "average-pool-2d",
  inputs: { x: { rank: 4 } },
  infer({ x }, { kernel }) {
    if (!Number.isInteger(kernel) || kernel < 1 || kernel % 2 === 0) {
      throw new ShapeError(`kernel must be odd and positive to keep the size, got ${kernel}`);
    }
    return { y: f32(x.shape) };
  },
  plan({ inputs: { x }, attributes: { kernel, countPadding, transposed } }) {
    const [, height, width] = x.shape as [number, number, number, number];
    const params = { height, width, radius: (kernel - 1) / 2 };
    const defines = { COUNT_PADDING: countPadding, TRANSPOSED: transposed };
    return { dispatches: [pictureDispatch({ name: "average-pool-2d", text: averagePool2dWgsl }, x, params, defines)] };
  },
  cost: (_, { y }, { kernel }) => ({ flops: elementCount(y.shape) * kernel * kernel }),
  gradient({ y: dy }, { g, attributes }) {
    return { x: dy && g.apply(averagePool2dKernel, { x: dy }, { ...attributes, transposed: !attributes.transposed }).y };
  },
};

/**
 * Mean of the kernel x kernel window around each pixel of `x` [batch, height, width, C] (f32), stride 1 -> the same shape
 * (torch.nn.AvgPool2d(kernel, stride=1, padding=(kernel - 1) / 2, count_include_pad=countPadding)).
 * @throws ShapeError if x has not 4 dimensions or the kernel is even.
 */
export function averagePool2d(g: Recorder, x: Value, options: Omit<Attributes, "transposed">): Value {
  return g.apply(averagePool2dKernel, { x }, { ...options, transposed: false }).y;
}
