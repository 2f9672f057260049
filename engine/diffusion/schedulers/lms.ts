/** Linear multistep sampling of order 4 in sigma space (k-diffusion `sample_lms`; diffusers v0.21 scheduling_lms_discrete.py). */
import type { SchedulerConfig } from "./config.ts";
import { derivative } from "./euler.ts";
import { combine, type SamplerPlan } from "./plan.ts";
import { sigmaSchedule } from "./spacing.ts";

const ORDER = 4;

/** Nodes and weights of three-point Gauss-Legendre quadrature on [-1, 1]; exact up to degree 5, and the integrand here has degree 3. */
const QUADRATURE: readonly (readonly [number, number])[] = [[-Math.sqrt(0.6), 5 / 9], [0, 8 / 9], [Math.sqrt(0.6), 5 / 9]];

/**
 * The weight of the derivative `back` steps ago in the step from sigmas[i] to sigmas[i + 1]: the integral of the Lagrange basis polynomial
 * through the last `order` sigmas that is 1 at sigmas[i - back] (upstream integrates numerically).
 */
export function lmsCoefficient(sigmas: ArrayLike<number>, i: number, order: number, back: number): number {
  const at = (k: number) => sigmas[k] as number;
  const basis = (x: number) => {
    let product = 1;
    for (let k = 0; k < order; k++) if (k !== back) product *= (x - at(i - k)) / (at(i - back) - at(i - k));
    return product;
  };
  const half = (at(i + 1) - at(i)) / 2;
  const middle = (at(i + 1) + at(i)) / 2;
  return half * QUADRATURE.reduce((sum, [node, weight]) => sum + weight * basis(middle + half * node), 0);
}

/**
 * x' = x + sum over the last (at most 4) derivatives of weight * derivative. Slots are a ring of derivatives.
 * @param from first entry of the list of timesteps. Entered in the middle, the order is that of the place in the list while derivatives
 *   are missing, so the first steps are too long. So does diffusers' img2img pipeline.
 */
export function lmsPlan(config: SchedulerConfig, ac: Float32Array, steps: number, from = 0): SamplerPlan {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSchedule(config, ac, steps);
  return {
    initNoiseSigma,
    historySlots: ORDER,
    sigmas: [...sigmas.subarray(from)],
    steps: timesteps.slice(from).map((timestep, call) => {
      const i = from + call;
      const sigma = sigmas[i] as number;
      const d = derivative(config, sigma);
      const order = Math.min(i + 1, ORDER);
      const known = Math.min(order, call + 1);
      const past = Array.from({ length: known }, (_, back) => [(i - back) % ORDER, lmsCoefficient(sigmas, i, order, back)] as const);
      return {
        timestep,
        inputScale: 1 / Math.sqrt(sigma * sigma + 1),
        needsNoise: false,
        stores: [{ slot: i % ORDER, value: combine([["sample", d.sample], ["output", d.output]]) }],
        next: combine([["sample", 1], ...past]),
      };
    }),
  };
}
