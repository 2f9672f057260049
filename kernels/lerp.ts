import lerpWgsl from "../shaders/lerp.wgsl";
import { type Kernel, type NoAttributes, type Recorder, ShapeError, type Value, elementCount, formatType, sameShape } from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";

/** a and b have one shape, t is [1]. The result is written over a where that is a tensor which holds it. */
export const lerpKernel: Kernel<NoAttributes, "a" | "b" | "t"> = {
  name: "lerp",
  inputs: { a: {}, b: {}, t: { rank: 1 } },
  layout: "any",
  inPlace: { y: "a" },
  infer({ a, b, t }) {
    if (!sameShape(a.shape, b.shape)) throw new ShapeError(`a ${formatType(a)} and b ${formatType(b)} must have one shape`);
    if (t.shape[0] !== 1) throw new ShapeError(`t must be f32[1], got ${formatType(t)}`);
    return { y: a };
  },
  plan: ({ inputs: { a }, overwrites }) => ({
    dispatches: [vectorwise({ name: "lerp", text: lerpWgsl }, a, {}, { defines: { IN_PLACE: overwrites } })],
  }),
  cost: ({ a }) => ({ flops: 3 * elementCount(a.shape) }),
};

/**
 * a + (b - a) t with t a tensor [1]: torch.lerp. f32; an average of weights is one of these a step. It has no gradient.
 * @throws ShapeError unless a and b have one shape
 */
export function lerp(g: Recorder, a: Value, b: Value, t: Value): Value {
  return g.apply(lerpKernel, { a, b, t }, {}).y;
}
