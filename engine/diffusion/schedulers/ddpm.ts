/** Ancestral sampling (DDPM, arXiv 2006.11239, eq. 6 and 7; diffusers v0.21 scheduling_ddpm.py). */
import type { SchedulerConfig } from "./config.ts";
import { alphaAt, predictions } from "./noise-schedule.ts";
import { combine, type SamplerPlan } from "./plan.ts";
import { wholeTimesteps } from "./spacing.ts";

/**
 * x' = sqrt(a') b / (1 - a) x0 + sqrt(a / a') (1 - a') / (1 - a) x + s noise, b = 1 - a / a', a' = alphas_cumprod one stride earlier (1
 * before the first);
 * s^2 = (1 - a') / (1 - a) b (fixed_small, at least 1e-20) or b (fixed_large). No noise at t = 0.
 */
export function ddpmPlan(config: SchedulerConfig, ac: Float32Array, steps: number): SamplerPlan {
  const stride = Math.floor(config.numTrainTimesteps / steps);
  const clip = config.clipSampleRange;
  return {
    initNoiseSigma: 1,
    historySlots: clip === undefined ? 0 : 1,
    steps: wholeTimesteps(config, steps).map((t) => {
      const a = alphaAt(ac, t);
      const prev = t - stride >= 0 ? alphaAt(ac, t - stride) : 1;
      const b = 1 - a / prev;
      const { clean } = predictions(config.predictionType, Math.sqrt(a), Math.sqrt(1 - a));
      const signal = (Math.sqrt(prev) * b) / (1 - a);
      const keep = (Math.sqrt(a / prev) * (1 - prev)) / (1 - a);
      const small = Math.max(((1 - prev) / (1 - a)) * b, 1e-20);
      const x0 = clip === undefined ? clean : { sample: 0, output: 0 };
      return {
        timestep: t,
        inputScale: 1,
        needsNoise: t > 0,
        stores: clip === undefined ? [] : [{ slot: 0, value: combine([["sample", clean.sample], ["output", clean.output]], clip) }],
        next: combine([
          ["sample", keep + signal * x0.sample],
          ["output", signal * x0.output],
          [0, clip === undefined ? 0 : signal],
          ["noise", t > 0 ? Math.sqrt(config.varianceType === "fixed_small" ? small : b) : 0],
        ]),
      };
    }),
  };
}
