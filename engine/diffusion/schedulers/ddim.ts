/** DDIM (arXiv 2010.02502, eq. 12 and 16; diffusers v0.21 scheduling_ddim.py). */
import type { SchedulerConfig } from "./config.ts";
import { alphaAt, predictions } from "./noise-schedule.ts";
import { combine, type SamplerPlan } from "./plan.ts";
import { wholeTimesteps } from "./spacing.ts";

/** The noise levels of one step and how much fresh noise it takes. */
export interface DdimLevels {
  /** alphas_cumprod of this step. */
  readonly a: number;
  /** a', alphas_cumprod one stride (numTrainTimesteps / steps, rounded down) earlier. */
  readonly prev: number;
  /** s for eta 1: sqrt((1 - a') / (1 - a) (1 - a / a')). */
  readonly sigma: number;
  /** 1 - a' - (eta s)^2; below zero only for eta above 1. */
  readonly radicand: number;
}

/** @throws RangeError for a timestep outside the table */
export function ddimLevels(config: SchedulerConfig, ac: Float32Array, steps: number, timestep: number, eta: number): DdimLevels {
  const before = timestep - Math.floor(config.numTrainTimesteps / steps);
  const a = alphaAt(ac, timestep);
  const prev = before >= 0 ? alphaAt(ac, before) : config.setAlphaToOne ? 1 : alphaAt(ac, 0);
  const sigma = Math.sqrt(((1 - prev) / (1 - a)) * (1 - a / prev));
  return { a, prev, sigma, radicand: 1 - prev - (eta * sigma) ** 2 };
}

/**
 * x' = sqrt(a') x0 + sqrt(|1 - a' - s^2|) eps + varianceScale s noise, with s = eta sqrt((1 - a') / (1 - a) (1 - a / a')).
 * With clip_sample, x0 is clamped and eps is not recomputed, so x0 takes a slot. Noise is added on the last step too where a' < 1.
 * The absolute value matters for eta above 1 only, which no DDIM has: WhenAreConceptsErased, eta_ddim_scheduler.py.
 */
export function ddimPlan(config: SchedulerConfig, ac: Float32Array, steps: number, eta: number, varianceScale = 1): SamplerPlan {
  const clip = config.clipSampleRange;
  return {
    initNoiseSigma: 1,
    historySlots: clip === undefined ? 0 : 1,
    steps: wholeTimesteps(config, steps).map((t) => {
      const { a, prev, sigma, radicand } = ddimLevels(config, ac, steps, t, eta);
      const { clean, noise } = predictions(config.predictionType, Math.sqrt(a), Math.sqrt(1 - a));
      const direction = Math.sqrt(Math.abs(radicand));
      const signal = Math.sqrt(prev);
      const x0 = clip === undefined ? clean : { sample: 0, output: 0 };
      return {
        timestep: t,
        inputScale: 1,
        needsNoise: eta > 0,
        stores: clip === undefined ? [] : [{ slot: 0, value: combine([["sample", clean.sample], ["output", clean.output]], clip) }],
        next: combine([
          ["sample", signal * x0.sample + direction * noise.sample],
          ["output", signal * x0.output + direction * noise.output],
          [0, clip === undefined ? 0 : signal],
          ["noise", eta * sigma * varianceScale],
        ]),
      };
    }),
  };
}
