import clampWgsl from "../shaders/clamp.wgsl";
import clampGradientWgsl from "../shaders/clamp-gradient.wgsl";
import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, sameShape } from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";

type Bounds = { readonly low: number; readonly high: number };

function checkBounds({ low, high }: Bounds): void {
  if (!(low <= high)) throw new ShapeError(`low ${low} must not be above high ${high}`);
}

export const clampKernel: Kernel<Bounds, "x"> = {
  name: "clamp",
  inputs: { x: {} },
  infer({ x }, bounds) {
    checkBounds(bounds);
    return { y: x };
  },
  plan: ({ inputs: { x }, attributes }) => ({
    dispatches: [vectorwise({ name: "clamp", text: clampWgsl }, x, attributes)],
  }),
  cost: ({ x }) => ({ flops: 2 * elementCount(x.shape) }),
  gradient: ({ y: dy }, { g, inputs: { x }, attributes }) => ({ x: dy && g.apply(clampGradientKernel, { x, dy }, attributes).dx }),
};

export const clampGradientKernel: Kernel<Bounds, "x" | "dy", "dx"> = {
  name: "clamp-gradient",
  inputs: { x: {}, dy: {} },
  outputs: ["dx"],
  infer({ x, dy }, bounds) {
    checkBounds(bounds);
    if (!sameShape(x.shape, dy.shape)) throw new ShapeError(`x ${formatType(x)} and dy ${formatType(dy)} must have one shape`);
    return { dx: x };
  },
  plan: ({ inputs: { x }, attributes }) => ({
    dispatches: [vectorwise({ name: "clamp-gradient", text: clampGradientWgsl }, x, attributes)],
  }),
  cost: ({ x }) => ({ flops: 2 * elementCount(x.shape) }),
};

/**
 * hardtanh: `x` (f32, any shape) limited to [low, high]; the gradient passes strictly inside (torch.nn.functional.hardtanh).
 * The attack's straight-through estimator is this op applied to a cotangent: the gradient for a one-hot row is clamp(d, -1, 1) whatever was
 * drawn (Diffusion-MU-Attack, text_grad_.py).
 * @throws ShapeError if low is above high.
 */
export function clamp(g: Recorder, x: Value, low = -1, high = 1): Value {
  return g.apply(clampKernel, { x }, { low, high }).y;
}
