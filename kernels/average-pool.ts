import averagePoolWgsl from "../shaders/average-pool.wgsl";
import averagePoolGradientWgsl from "../shaders/average-pool-gradient.wgsl";
import { type Kernel, type NoAttributes, type Recorder, type Value, elementCount, f32 } from "./kernel.ts";
import { lanesFor, pointwise } from "./pointwise.ts";

export const averagePoolKernel: Kernel<NoAttributes, "x"> = {
  name: "average-pool",
  inputs: { x: { rank: 4 } },
  infer: ({ x }) => ({ y: f32([x.shape[0]!, x.shape[3]!]) }),
  plan({ inputs: { x }, outputs: { y } }) {
    const [, height, width, channels] = x.shape as [number, number, number, number];
    const lanes = lanesFor(channels);
    const elements = elementCount(y.shape) / lanes;
    const params = { elements, channels: channels / lanes, height, width, scale: 1 / (height * width) };
    const shader = { name: "average-pool", text: averagePoolWgsl };
    return { dispatches: [pointwise(shader, elements, params, { defines: { VEC4: lanes === 4 } })] };
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
    const lanes = lanesFor(channels);
    const elements = elementCount(dx.shape) / lanes;
    const params = { elements, channels: channels / lanes, pixels: height * width, scale: 1 / (height * width) };
    const shader = { name: "average-pool-gradient", text: averagePoolGradientWgsl };
    return { dispatches: [pointwise(shader, elements, params, { defines: { VEC4: lanes === 4 } })] };
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
