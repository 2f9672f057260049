import averagePoolWgsl from "../shaders/average-pool.wgsl";
import averagePoolGradientWgsl from "../shaders/average-pool-gradient.wgsl";
import { type Kernel, type Recorder, type Value, elementCount, f32, need } from "./kernel.ts";
import { lanesFor, perElement } from "./per-element.ts";

export const averagePoolKernel: Kernel<Record<string, never>> = {
  name: "average-pool",
  infer(inputs) {
    const x = need("average-pool", inputs, 0, "x", 4);
    return [f32([x.shape[0]!, x.shape[3]!])];
  },
  plan({ inputs, outputs }) {
    const [, height, width, channels] = inputs[0]!.shape as [number, number, number, number];
    const lanes = lanesFor(channels);
    const params = {
      elements: elementCount(outputs[0]!.shape) / lanes,
      channels: channels / lanes,
      height,
      width,
      scale: 1 / (height * width),
    };
    return {
      dispatches: [
        perElement(
          { name: "average-pool", text: averagePoolWgsl },
          params.elements,
          { VEC4: lanes === 4 },
          { x: { input: 0 }, y: { output: 0 } },
          params,
        ),
      ],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
  gradient([dy], { g, inputs }) {
    const [, height, width] = inputs[0]!.type.shape;
    return [dy && g.apply(averagePoolGradientKernel, [dy], { height: height!, width: width! })[0]];
  },
};

export const averagePoolGradientKernel: Kernel<{ readonly height: number; readonly width: number }> = {
  name: "average-pool-gradient",
  infer(inputs, { height, width }) {
    const dy = need("average-pool-gradient", inputs, 0, "dy", 2);
    return [f32([dy.shape[0]!, height, width, dy.shape[1]!])];
  },
  plan({ inputs, outputs, attributes: { height, width } }) {
    const channels = inputs[0]!.shape[1]!;
    const lanes = lanesFor(channels);
    const params = {
      elements: elementCount(outputs[0]!.shape) / lanes,
      channels: channels / lanes,
      pixels: height * width,
      scale: 1 / (height * width),
    };
    return {
      dispatches: [
        perElement(
          { name: "average-pool-gradient", text: averagePoolGradientWgsl },
          params.elements,
          { VEC4: lanes === 4 },
          { dy: { input: 0 }, dx: { output: 0 } },
          params,
        ),
      ],
    };
  },
  cost: (_, [dx]) => ({ flops: elementCount(dx!.shape) }),
};

/**
 * Mean over height and width of `x` [batch, height, width, C] (f32) -> [batch, C] (torch.nn.AdaptiveAvgPool2d(1)).
 * @throws ShapeError if x has not 4 dimensions.
 */
export function averagePool(g: Recorder, x: Value): Value {
  return g.apply(averagePoolKernel, [x], {})[0]!;
}
