/**
 * Euler's method and its ancestral form in sigma space (Karras et al., arXiv 2206.00364, algorithm 2 without churn; k-diffusion; diffusers
 * v0.21).
 */
import type { SchedulerConfig } from "./config.ts";
import { predictions, type Linear } from "./noise-schedule.ts";
import { combine, type SamplerPlan } from "./plan.ts";
import { sigmaSchedule } from "./spacing.ts";

/**
 * dx/dsigma = (x - x0) / sigma as a linear form of (sample, output), for a sample x = x0 + sigma eps.
 * The variance-preserving sample is x / sqrt(sigma^2 + 1), which is also what the model sees.
 */
export function derivative(config: SchedulerConfig, sigma: number): Linear {
  const alpha = 1 / Math.sqrt(sigma * sigma + 1);
  const { noise } = predictions(config.predictionType, alpha, sigma * alpha);
  return { sample: noise.sample * alpha, output: noise.output };
}

/** Steps along the derivative: x' = x + d (target - sigma) + factor noise, with what `move` says of sigma and the next one. */
function sigmaPlan(
  config: SchedulerConfig,
  ac: Float32Array,
  steps: number,
  move: (sigma: number, to: number) => { readonly target: number; readonly noise?: number },
): SamplerPlan {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSchedule(config, ac, steps);
  return {
    initNoiseSigma,
    historySlots: 0,
    sigmas: [...sigmas],
    steps: timesteps.map((timestep, i) => {
      const sigma = sigmas[i] as number;
      const { target, noise } = move(sigma, sigmas[i + 1] as number);
      const d = derivative(config, sigma);
      const drift = [["sample", 1 + d.sample * (target - sigma)], ["output", d.output * (target - sigma)]] as const;
      return {
        timestep,
        inputScale: 1 / Math.sqrt(sigma * sigma + 1),
        needsNoise: noise !== undefined,
        stores: [],
        next: combine(noise === undefined ? drift : [...drift, ["noise", noise]]),
      };
    }),
  };
}

/** x' = x + d (sigma' - sigma). Upstream also draws noise at every step and throws it away (s_churn 0); nothing is drawn here. */
export function eulerPlan(config: SchedulerConfig, ac: Float32Array, steps: number): SamplerPlan {
  return sigmaPlan(config, ac, steps, (_, target) => ({ target }));
}

/**
 * x' = x + d (down - sigma) + up noise, up^2 = to^2 (sigma^2 - to^2) / sigma^2, down^2 = to^2 - up^2.
 * Noise is drawn on the last step too, where its weight is 0.
 */
export function eulerAncestralPlan(config: SchedulerConfig, ac: Float32Array, steps: number): SamplerPlan {
  return sigmaPlan(config, ac, steps, (sigma, to) => {
    const up = Math.sqrt((to ** 2 * (sigma ** 2 - to ** 2)) / sigma ** 2);
    return { target: Math.sqrt(Math.max(0, to ** 2 - up ** 2)), noise: up };
  });
}
