/** DDIM (arXiv 2010.02502, eq. 12 and 16; diffusers v0.21 scheduling_ddim.py). */
import type { SchedulerConfig } from "./config.ts";
import { alphaAt, predictions } from "./noise-schedule.ts";
import { combine, type SamplerPlan } from "./plan.ts";
import { wholeTimesteps } from "./spacing.ts";

/**
 * x' = sqrt(a') x0 + sqrt(1 - a' - s^2) eps + s noise, with s = eta sqrt((1 - a') / (1 - a) (1 - a / a')), a' = alphas_cumprod one stride
 * (numTrainTimesteps / steps, rounded down) earlier. With clip_sample, x0 is clamped and eps is not recomputed, so x0 takes a slot.
 * Noise is added on the last step too where a' < 1.
 */
export function ddimPlan(config: SchedulerConfig, ac: Float32Array, steps: number, eta: number): SamplerPlan {
  const stride = Math.floor(config.numTrainTimesteps / steps);
  const clip = config.clipSampleRange;
  const last = config.setAlphaToOne ? 1 : alphaAt(ac, 0);
  return {
    initNoiseSigma: 1,
    historySlots: clip === undefined ? 0 : 1,
    steps: wholeTimesteps(config, steps).map((t) => {
      const a = alphaAt(ac, t);
      const prev = t - stride >= 0 ? alphaAt(ac, t - stride) : last;
      const sigma = eta * Math.sqrt(((1 - prev) / (1 - a)) * (1 - a / prev));
      const { clean, noise } = predictions(config.predictionType, Math.sqrt(a), Math.sqrt(1 - a));
      const direction = Math.sqrt(Math.max(0, 1 - prev - sigma * sigma));
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
          ["noise", sigma],
        ]),
      };
    }),
  };
}
