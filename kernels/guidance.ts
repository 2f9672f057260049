import guidanceWgsl from "../shaders/guidance.wgsl";
import guidanceGradientWgsl from "../shaders/guidance-gradient.wgsl";
import safeGuidanceWgsl from "../shaders/safe-guidance.wgsl";
import {
  type Kernel,
  type Recorder,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  sameShape,
} from "./kernel.ts";
import { lanesFor, perElement } from "./per-element.ts";

/** One of `parts` equal blocks of the batch. */
function block(op: string, x: TensorType, parts: number): TensorType {
  const batch = x.shape[0];
  if (batch === undefined || batch === 0 || batch % parts !== 0) {
    throw new ShapeError(op, `the batch of x ${formatType(x)} must be a multiple of ${parts}`);
  }
  return f32([batch / parts, ...x.shape.slice(1)]);
}

export const guidanceKernel: Kernel<{ readonly scale: number }> = {
  name: "guidance",
  infer: (inputs) => [block("guidance", need("guidance", inputs, 0, "x"), 2)],
  plan({ outputs, attributes: { scale } }) {
    const half = elementCount(outputs[0]!.shape);
    const lanes = lanesFor(half);
    return {
      dispatches: [
        perElement(
          { name: "guidance", text: guidanceWgsl },
          half / lanes,
          { VEC4: lanes === 4 },
          { x: { input: 0 }, y: { output: 0 } },
          { half: half / lanes, scale },
        ),
      ],
    };
  },
  cost: (_, [y]) => ({ flops: 3 * elementCount(y!.shape) }),
  gradient: ([dy], { g, attributes }) => [dy && g.apply(guidanceGradientKernel, [dy], attributes)[0]],
};

export const guidanceGradientKernel: Kernel<{ readonly scale: number }> = {
  name: "guidance-gradient",
  infer(inputs) {
    const dy = need("guidance-gradient", inputs, 0, "dy");
    return [f32([2 * dy.shape[0]!, ...dy.shape.slice(1)])];
  },
  plan({ inputs, attributes: { scale } }) {
    const half = elementCount(inputs[0]!.shape);
    const lanes = lanesFor(half);
    const bindings = { dy: { input: 0 }, dx: { output: 0 } };
    return {
      dispatches: [
        perElement({ name: "guidance-gradient", text: guidanceGradientWgsl }, half / lanes, { VEC4: lanes === 4 }, bindings, {
          half: half / lanes,
          scale,
        }),
      ],
    };
  },
  cost: ([dy]) => ({ flops: 2 * elementCount(dy!.shape) }),
};

/**
 * Classifier-free guidance (arXiv 2207.12598): u + scale * (c - u), where x f32 [2n, ..] holds the n unconditional predictions, then the n
 * conditional ones -> [n, ..].
 * @throws ShapeError if the batch is odd.
 */
export function guidance(g: Recorder, x: Value, scale: number): Value {
  return g.apply(guidanceKernel, [x], { scale })[0]!;
}

/** The numbers of one SLD strength that act on the device. */
export interface SafeGuidanceParameters {
  /** How fast an element's safety scale grows with |prompt - safety concept|. */
  readonly guidance: number;
  /** Elements where prompt - safety concept is at least this are left alone. */
  readonly threshold: number;
  readonly momentumScale: number;
  readonly momentumBeta: number;
}

type SafeGuidanceAttributes = {
  readonly scale: number;
  readonly guidance: number;
  readonly threshold: number;
  readonly momentumScale: number;
  readonly momentumBeta: number;
};

export const safeGuidanceKernel: Kernel<SafeGuidanceAttributes> = {
  name: "safe-guidance",
  infer(inputs) {
    const part = block("safe-guidance", need("safe-guidance", inputs, 0, "x"), 3);
    const momentum = need("safe-guidance", inputs, 1, "momentum");
    if (!sameShape(momentum.shape, part.shape)) {
      throw new ShapeError("safe-guidance", `momentum is ${formatType(momentum)}, expected ${formatType(part)}`);
    }
    const enabled = need("safe-guidance", inputs, 2, "enabled");
    if (elementCount(enabled.shape) !== 1) throw new ShapeError("safe-guidance", `enabled must be one number, got ${formatType(enabled)}`);
    return [part, part];
  },
  plan({ outputs, attributes }) {
    const size = elementCount(outputs[0]!.shape);
    const lanes = lanesFor(size);
    const { scale, guidance: safetyScale, threshold, momentumScale, momentumBeta } = attributes;
    const bindings = { x: { input: 0 }, momentum: { input: 1 }, enabled: { input: 2 }, y: { output: 0 }, nextMomentum: { output: 1 } };
    const params = { part: size / lanes, scale, safetyScale, threshold, momentumScale, beta: momentumBeta, oneMinusBeta: 1 - momentumBeta };
    return {
      dispatches: [perElement({ name: "safe-guidance", text: safeGuidanceWgsl }, size / lanes, { VEC4: lanes === 4 }, bindings, params)],
    };
  },
  cost: (_, [y]) => ({ flops: 14 * elementCount(y!.shape) }),
};

/**
 * Safe Latent Diffusion (arXiv 2211.05105): guidance with the part of the prompt's direction that points to the safety concept taken out.
 * x f32 [3n, ..] holds n unconditional, n prompt and n safety-concept predictions; momentum f32 [n, ..], zero at first; enabled f32 [1] is
 * above 0 when the warm-up is over: for the reference code, when the *timestep* is at least the warm-up number. It is a tensor, so that one
 * graph serves every step. `scale` is the prompt's guidance scale.
 * @throws ShapeError if the batch is no multiple of 3 or the momentum's shape differs.
 */
export function safeGuidance(
  g: Recorder,
  x: Value,
  momentum: Value,
  enabled: Value,
  parameters: SafeGuidanceParameters,
  scale: number,
): { prediction: Value; momentum: Value } {
  const { guidance: safetyScale, threshold, momentumScale, momentumBeta } = parameters;
  const [prediction, next] = g.apply(safeGuidanceKernel, [x, momentum, enabled], {
    scale,
    guidance: safetyScale,
    threshold,
    momentumScale,
    momentumBeta,
  });
  return { prediction: prediction!, momentum: next! };
}
