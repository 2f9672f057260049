import lerpWgsl from "../shaders/lerp.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need, sameShape } from "./kernel.ts";
import { planElements } from "./rows.ts";

/** Inputs: a and b of one shape, t [1]. Output: a + (b - a) t, over a where that is a tensor which holds the result. */
export const lerpKernel: Kernel<Record<string, never>> = {
  name: "lerp",
  alike: true,
  inPlace: [0],
  infer(inputs) {
    const a = need("lerp", inputs, 0, "a", undefined, ["f32"], true);
    const b = need("lerp", inputs, 1, "b", undefined, ["f32"], true);
    const t = need("lerp", inputs, 2, "t", 1);
    if (!sameShape(a.shape, b.shape)) throw new ShapeError("lerp", `a ${formatType(a)} and b ${formatType(b)} must have one shape`);
    if (t.shape[0] !== 1) throw new ShapeError("lerp", `t must be f32[1], got ${formatType(t)}`);
    return [a];
  },
  plan({ inputs, overwrites = false }) {
    const count = Math.ceil(elementCount(inputs[0]!.shape) / 4);
    return {
      dispatches: [
        {
          shader: { name: "lerp", text: lerpWgsl },
          defines: { IN_PLACE: overwrites },
          bindings: { ...(!overwrites && { a: { input: 0 } }), b: { input: 1 }, t: { input: 2 }, y: { output: 0 } },
          params: { count },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: ([a]) => ({ flops: 3 * elementCount(a!.shape) }),
};

/**
 * a + (b - a) t with t a tensor [1]: torch.lerp. f32; an average of weights is one of these a step. It has no gradient.
 * @throws ShapeError unless a and b have one shape
 */
export function lerp(g: Recorder, a: Value, b: Value, t: Value): Value {
  return g.apply(lerpKernel, [a, b, t], {})[0]!;
}
