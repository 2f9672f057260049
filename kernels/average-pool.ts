import averagePoolWgsl from "../shaders/average-pool.wgsl";
import averagePoolGradientWgsl from "../shaders/average-pool-gradient.wgsl";
import { type Kernel, type NoAttributes, type Recorder, type Value, elementCount, f32 } from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";

export const averagePoolKernel: Kernel<NoAttributes, "x"> = {
  name: "average-pool",
  inputs: { x: { rank: 4 } },
  infer: ({ x }) => ({ y: f32([x.shape[0]!, x.shape[3]!]) }),
  plan({ inputs: { x }, outputs: { y } }) {
    const [, height, width, channels] = x.shape as [number, number, number, number];
    const { lanes, defines } = packing(channels);
    const params = { count: elementCount(y.shape) / lanes, channels: channels / lanes, height, width, scale: 1 / (height * width) };
    return { dispatches: [pointwise({ name: "average-pool", text: averagePoolWgsl }, params, { defines })] };
  },
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
  gradient({ y: dy }, { g, inputs: { x } }) {
    const [, height, width] = x.type.shape;
    return { x: dy && g.apply(averagePoolGradientKernel, { dy }, { height: height!, width: width! }).dx };
  },
};

export const averagePoolGradientKernel: Kernel<{ readonly height: number; readonly width: number }, "dy", "dx"> = {
  name: "average-pool-gradient",
  inputs: { dy: { rank: 2 } },
  outputs: ["dx"],
  infer: ({ dy }, { height, width }) => ({ dx: f32([dy.shape[0]!, height, width, dy.shape[1]!]) }),
  plan({ outputs: { dx }, attributes: { height, width } }) {
    const channels = dx.shape[3]!;
    const { lanes, defines } = packing(channels);
    const pixels = height * width;
    const params = { count: elementCount(dx.shape) / lanes, channels: channels / lanes, pixels, scale: 1 / pixels };
    return { dispatches: [pointwise({ name: "average-pool-gradient", text: averagePoolGradientWgsl }, params, { defines })] };
  },
  cost: (_, { dx }) => ({ flops: elementCount(dx.shape) }),
};

/**
 * Mean over height and width of `x` [batch, height, width, C] (f32) -> [batch, C] (torch.nn.AdaptiveAvgPool2d(1)).
 * @throws ShapeError if x has not 4 dimensions.
 */
export function averagePool(g: Recorder, x: Value): Value {
  return g.apply(averagePoolKernel, { x }, {}).y;
}
