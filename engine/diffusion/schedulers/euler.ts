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

/** x' = x + d (sigma' - sigma). Upstream also draws noise at every step and throws it away (s_churn 0); nothing is drawn here. */
export function eulerPlan(config: SchedulerConfig, ac: Float32Array, steps: number): SamplerPlan {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSchedule(config, ac, steps);
  return {
    initNoiseSigma,
    historySlots: 0,
    sigmas: [...sigmas],
    steps: timesteps.map((timestep, i) => {
      const [sigma, to] = [sigmas[i] as number, sigmas[i + 1] as number];
      const d = derivative(config, sigma);
      return {
        timestep,
        inputScale: 1 / Math.sqrt(sigma * sigma + 1),
        needsNoise: false,
        stores: [],
        next: combine([["sample", 1 + d.sample * (to - sigma)], ["output", d.output * (to - sigma)]]),
      };
    }),
  };
}

/**
 * x' = x + d (down - sigma) + up noise, up^2 = to^2 (sigma^2 - to^2) / sigma^2, down^2 = to^2 - up^2.
 * Noise is drawn on the last step too, where its weight is 0.
 */
export function eulerAncestralPlan(config: SchedulerConfig, ac: Float32Array, steps: number): SamplerPlan {
  const { timesteps, sigmas, initNoiseSigma } = sigmaSchedule(config, ac, steps);
  return {
    initNoiseSigma,
    historySlots: 0,
    sigmas: [...sigmas],
    steps: timesteps.map((timestep, i) => {
      const [sigma, to] = [sigmas[i] as number, sigmas[i + 1] as number];
      const up = Math.sqrt((to ** 2 * (sigma ** 2 - to ** 2)) / sigma ** 2);
      const down = Math.sqrt(Math.max(0, to ** 2 - up ** 2));
      const d = derivative(config, sigma);
      return {
        timestep,
        inputScale: 1 / Math.sqrt(sigma * sigma + 1),
        needsNoise: true,
        stores: [],
        next: combine([["sample", 1 + d.sample * (down - sigma)], ["output", d.output * (down - sigma)], ["noise", up]]),
      };
    }),
  };
}
