import { type Kernel, type Recorder, type Shape, type Value, f32 } from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";
import fillWgsl from "../shaders/fill.wgsl";

/** No inputs; every element is `value`. */
export const fillKernel: Kernel<{ shape: readonly number[]; value: number }> = {
  name: "fill",
  inputs: {},
  infer: (_inputs, { shape }) => ({ y: f32(shape) }),
  plan: ({ outputs: { y }, attributes: { value } }) => ({
    dispatches: [vectorwise({ name: "fill", text: fillWgsl }, y, { value })],
  }),
  gradient: () => ({}),
};

/** A tensor of one number; f32. */
export function fill(g: Recorder, shape: Shape, value: number): Value {
  return g.apply(fillKernel, {}, { shape: [...shape], value }).y;
}
