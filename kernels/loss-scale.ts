import { type Kernel, type Recorder, ShapeError, type Value, elementCount, f32, formatType, need } from "./kernel.ts";
import { planElements } from "./rows.ts";
import lossScaleWgsl from "../shaders/loss-scale.wgsl";
import scaleByWgsl from "../shaders/scale-by.wgsl";

/**
 * The power of two that a gradient is multiplied by before it becomes an operand in f16, whose smallest normal number is 6e-5 and whose
 * largest is 65504.
 * The largest magnitude comes to lie in [8, 16): it may still grow 4000 times on its way back, and shrink 130,000 times before it loses
 * bits.
 */
export const lossScaleKernel: Kernel<Record<string, never>> = {
  name: "loss-scale",
  infer(inputs) {
    need("loss-scale", inputs, 0, "x");
    return [f32([1])];
  },
  plan: ({ inputs }) => ({
    dispatches: [
      {
        shader: { name: "loss-scale", text: lossScaleWgsl },
        defines: {},
        bindings: { x: { input: 0 }, y: { output: 0 } },
        params: { elements: elementCount(inputs[0]!.shape) },
        workgroups: [1, 1, 1],
      },
    ],
  }),
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
};

export const scaleByKernel: Kernel<{ divide: boolean }> = {
  name: "scale-by",
  infer(inputs) {
    const x = need("scale-by", inputs, 0, "x");
    const factor = need("scale-by", inputs, 1, "factor");
    if (elementCount(factor.shape) !== 1) throw new ShapeError("scale-by", `factor must be a single number, got ${formatType(factor)}`);
    return [x];
  },
  plan({ outputs, attributes }) {
    const count = Math.ceil(elementCount(outputs[0]!.shape) / 4);
    return {
      dispatches: [
        {
          shader: { name: "scale-by", text: scaleByWgsl },
          defines: { DIVIDE: attributes.divide },
          bindings: { x: { input: 0 }, factor: { input: 1 }, y: { output: 0 } },
          params: { count },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
};

/**
 * The power of two that brings the largest magnitude of x (f32, any shape) into [8, 16) -> [1]; 1 if x is zero or not finite, 2^40 or 2^-40
 * at most.
 */
export function lossScale(g: Recorder, x: Value): Value {
  return g.apply(lossScaleKernel, [x], {})[0]!;
}

/**
 * x times factor, or divided by it: f32, any shape; factor [1], computed on the device.
 * @throws ShapeError if factor is more than one number.
 */
export function scaleBy(g: Recorder, x: Value, factor: Value, divide = false): Value {
  return g.apply(scaleByKernel, [x, factor], { divide })[0]!;
}
