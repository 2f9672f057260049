import guidanceWgsl from "../shaders/guidance.wgsl";
import guidanceGradientWgsl from "../shaders/guidance-gradient.wgsl";
import safeGuidanceWgsl from "../shaders/safe-guidance.wgsl";
import {
  type Defines, type Kernel, type Recorder, ShapeError, type TensorType, type Value, elementCount, f32, formatType, sameShape,
} from "./kernel.ts";
import { packing } from "./pack.ts";
import { pointwise } from "./pointwise.ts";

/** One of `parts` equal blocks of the batch. */
function block(x: TensorType, parts: number): TensorType {
  const batch = x.shape[0];
  if (batch === undefined || batch === 0 || batch % parts !== 0) {
    throw new ShapeError(`the batch of x ${formatType(x)} must be a multiple of ${parts}`);
  }
  return f32([batch / parts, ...x.shape.slice(1)]);
}

/** A block as the shaders take it, and how many Packs it has: it must be whole ones, so that the next block begins at one. */
function packsOf({ shape }: TensorType): { count: number; defines: Defines } {
  const { lanes, defines } = packing(elementCount(shape));
  return { count: elementCount(shape) / lanes, defines };
}

export const guidanceKernel: Kernel<{ readonly scale: number }, "x"> = {
  name: "guidance",
  inputs: { x: {} },
  infer: ({ x }) => ({ y: block(x, 2) }),
  plan({ outputs: { y }, attributes: { scale } }) {
    const { count, defines } = packsOf(y);
    return { dispatches: [pointwise({ name: "guidance", text: guidanceWgsl }, { count, scale }, { defines })] };
  },
  cost: (_, { y }) => ({ flops: 3 * elementCount(y.shape) }),
  gradient: ({ y: dy }, { g, attributes }) => ({ x: dy && g.apply(guidanceGradientKernel, { dy }, attributes).dx }),
};

export const guidanceGradientKernel: Kernel<{ readonly scale: number }, "dy", "dx"> = {
  name: "guidance-gradient",
  inputs: { dy: {} },
  outputs: ["dx"],
  infer: ({ dy }) => ({ dx: f32([2 * dy.shape[0]!, ...dy.shape.slice(1)]) }),
  plan({ inputs: { dy }, attributes: { scale } }) {
    const { count, defines } = packsOf(dy);
    return { dispatches: [pointwise({ name: "guidance-gradient", text: guidanceGradientWgsl }, { count, scale }, { defines })] };
  },
  cost: ({ dy }) => ({ flops: 2 * elementCount(dy.shape) }),
};

/**
 * Classifier-free guidance (arXiv 2207.12598): u + scale * (c - u), where x f32 [2n, ..] holds the n unconditional predictions, then the n
 * conditional ones -> [n, ..].
 * @throws ShapeError if the batch is odd.
 */
export function guidance(g: Recorder, x: Value, scale: number): Value {
  return g.apply(guidanceKernel, { x }, { scale }).y;
}

/** The numbers of one SLD strength that act on the device. */
export type SafeGuidanceParameters = {
  /** How fast an element's safety scale grows with |prompt - safety concept|. */
  readonly guidance: number;
  /** Elements where prompt - safety concept is at least this are left alone. */
  readonly threshold: number;
  readonly momentumScale: number;
  readonly momentumBeta: number;
};

type SafeGuidanceAttributes = SafeGuidanceParameters & { readonly scale: number };

export const safeGuidanceKernel: Kernel<SafeGuidanceAttributes, "x" | "momentum" | "enabled", "y" | "nextMomentum"> = {
  name: "safe-guidance",
  inputs: { x: {}, momentum: {}, enabled: {} },
  outputs: ["y", "nextMomentum"],
  infer({ x, momentum, enabled }) {
    const part = block(x, 3);
    if (!sameShape(momentum.shape, part.shape)) {
      throw new ShapeError(`momentum is ${formatType(momentum)}, expected ${formatType(part)}`);
    }
    if (elementCount(enabled.shape) !== 1) throw new ShapeError(`enabled must be one number, got ${formatType(enabled)}`);
    return { y: part, nextMomentum: part };
  },
  plan({ outputs: { y }, attributes }) {
    const { count, defines } = packsOf(y);
    const { scale, guidance: safetyScale, threshold, momentumScale, momentumBeta } = attributes;
    const params = { count, scale, safetyScale, threshold, momentumScale, beta: momentumBeta, oneMinusBeta: 1 - momentumBeta };
    return { dispatches: [pointwise({ name: "safe-guidance", text: safeGuidanceWgsl }, params, { defines })] };
  },
  cost: (_, { y }) => ({ flops: 14 * elementCount(y.shape) }),
};

/**
 * Safe Latent Diffusion (arXiv 2211.05105): guidance with the part of the prompt's direction that points to the safety concept taken out.
 * x f32 [3n, ..] holds n unconditional, n prompt and n safety-concept predictions; momentum f32 [n, ..], zero at first; enabled f32 [1] is
 * above 0 when the warm-up is over: for the reference code, when the *timestep* is at least the warm-up number. It is a tensor, so that one
 * graph serves every step. `scale` is the prompt's guidance scale.
 * @throws ShapeError if the batch is not a multiple of 3 or the momentum's shape differs.
 */
export function safeGuidance(
  g: Recorder,
  x: Value,
  momentum: Value,
  enabled: Value,
  { guidance: safetyScale, threshold, momentumScale, momentumBeta }: SafeGuidanceParameters,
  scale: number,
): { prediction: Value; momentum: Value } {
  const attributes = { scale, guidance: safetyScale, threshold, momentumScale, momentumBeta };
  const { y, nextMomentum } = g.apply(safeGuidanceKernel, { x, momentum, enabled }, attributes);
  return { prediction: y, momentum: nextMomentum };
}
