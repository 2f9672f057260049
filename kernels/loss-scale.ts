import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, f32, formatType } from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";
import lossScaleWgsl from "../shaders/loss-scale.wgsl";
import scaleByWgsl from "../shaders/scale-by.wgsl";

/**
 * The power of two that a gradient is multiplied by before it becomes an operand in f16, whose smallest normal number is 6e-5 and whose
 * largest is 65504.
 * The largest magnitude comes to lie in [8, 16): it may still grow 4000 times on its way back, and shrink 130,000 times before it loses
 * bits.
 */
export const lossScaleKernel: Kernel<NoAttributes, "x"> = {
  name: "loss-scale",
  inputs: { x: {} },
  infer: () => ({ y: f32([1]) }),
  plan({ inputs: { x } }) {
    const params = { elements: elementCount(x.shape) };
    return { dispatches: [{ shader: { name: "loss-scale", text: lossScaleWgsl }, defines: {}, params, workgroups: [1, 1, 1] }] };
  },
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
};

export const scaleByKernel: Kernel<{ divide: boolean }, "x" | "factor"> = {
  name: "scale-by",
  inputs: { x: {}, factor: {} },
  infer({ x, factor }) {
    if (elementCount(factor.shape) !== 1) throw new ShapeError(`factor must be a single number, got ${formatType(factor)}`);
    return { y: x };
  },
  plan: ({ outputs: { y }, attributes: { divide } }) => ({
    dispatches: [vectorwise({ name: "scale-by", text: scaleByWgsl }, y, {}, { defines: { DIVIDE: divide } })],
  }),
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
};

/**
 * The power of two that brings the largest magnitude of x (f32, any shape) into [8, 16) -> [1]; 1 if x is zero or not finite, 2^40 or 2^-40
 * at most.
 */
export function lossScale(g: Recorder, x: Value): Value {
  return g.apply(lossScaleKernel, { x }, {}).y;
}

/**
 * x times factor, or divided by it: f32, any shape; factor [1], computed on the device.
 * @throws ShapeError if factor is more than one number.
 */
export function scaleBy(g: Recorder, x: Value, factor: Value, divide = false): Value {
  return g.apply(scaleByKernel, { x, factor }, { divide }).y;
}
