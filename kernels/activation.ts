import { type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, sameShape } from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";
import { ACTIVATION_DEFINES } from "./rows.ts";
import activationWgsl from "../shaders/activation.wgsl";
import activationGradientWgsl from "../shaders/activation-gradient.wgsl";

/** `gelu` is the exact (erf) form; `quickGelu` is CLIP's x sigmoid(1.702 x). */
export type ActivationKind = "silu" | "gelu" | "quickGelu" | "relu" | "sqrt";

/** Rough FLOPs of one value or derivative, an exponential counted as 8. */
const FLOPS: Record<ActivationKind, number> = { silu: 12, gelu: 30, quickGelu: 13, relu: 1, sqrt: 4 };

export const activationKernel: Kernel<{ kind: ActivationKind }, "x"> = {
  name: "activation",
  inputs: { x: {} },
  infer({ x }, { kind }) {
    if (!(kind in FLOPS)) throw new ShapeError(`unknown kind "${kind}"; known are ${Object.keys(FLOPS).join(", ")}`);
    return { y: x };
  },
  plan({ outputs: { y }, attributes: { kind } }) {
    const defines = { ...ACTIVATION_DEFINES, ACTIVATION: `${kind}4` };
    return { dispatches: [vectorwise({ name: "activation", text: activationWgsl }, y, {}, { defines })] };
  },
  cost: ({ x }, _outputs, { kind }) => ({ flops: elementCount(x.shape) * FLOPS[kind] }),
  gradient: ({ y: dy }, { g, inputs: { x }, attributes: { kind } }) => ({ x: dy && activationGradient(g, dy, x, kind) }),
};

export const activationGradientKernel: Kernel<{ kind: ActivationKind }, "dy" | "x", "dx"> = {
  name: "activation-gradient",
  inputs: { dy: {}, x: {} },
  outputs: ["dx"],
  infer({ dy, x }) {
    if (!sameShape(dy.shape, x.shape)) throw new ShapeError(`dy ${formatType(dy)} and x ${formatType(x)} must have one shape`);
    return { dx: x };
  },
  plan({ outputs: { dx }, attributes: { kind } }) {
    const defines = { ...ACTIVATION_DEFINES, DERIVATIVE: `${kind}Derivative4` };
    return { dispatches: [vectorwise({ name: "activation-gradient", text: activationGradientWgsl }, dx, {}, { defines })] };
  },
  cost: ({ x }, _outputs, { kind }) => ({ flops: elementCount(x.shape) * (FLOPS[kind] + 4) }),
};

/** An activation by its kind; f32, any shape. @throws ShapeError for another dtype or kind. */
export function activation(g: Recorder, x: Value, kind: ActivationKind): Value {
  return g.apply(activationKernel, { x }, { kind }).y;
}

/** dy times the activation's derivative at x; f32, both of one shape. @throws ShapeError otherwise. */
export function activationGradient(g: Recorder, dy: Value, x: Value, kind: ActivationKind): Value {
  return g.apply(activationGradientKernel, { dy, x }, { kind }).dx;
}

/** x sigmoid(x); f32, any shape (Elfwing et al., arXiv 1702.03118). @throws ShapeError for another dtype. */
export function silu(g: Recorder, x: Value): Value {
  return activation(g, x, "silu");
}

/** max(x, 0), derivative 0 at 0; f32, any shape. @throws ShapeError for another dtype. */
export function relu(g: Recorder, x: Value): Value {
  return activation(g, x, "relu");
}

/** Square root of x, 0 of what is not above 0, where the derivative is 0 too; f32, any shape. @throws ShapeError for another dtype. */
export function sqrt(g: Recorder, x: Value): Value {
  return activation(g, x, "sqrt");
}
