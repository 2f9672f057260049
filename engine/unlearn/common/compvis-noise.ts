import { type NoiseScheduleConfig, betas } from "../../diffusion/schedulers/index.ts";

/**
 * float64 [numTrainTimesteps]: `alphasCumprod` as CompVis's code makes it, which never rounds to float32 on the way. The two differ by up
 * to 1e-6. It shows where Adam divides a gradient by its own size: an element of some 1e-8 went the other way by it.
 * Source: CompVis/stable-diffusion, ldm/modules/diffusionmodules/util.py `make_beta_schedule`, ldm/models/diffusion/ddpm.py
 * `register_schedule`.
 */
export function compVisAlphasCumprod(config: NoiseScheduleConfig): Float64Array<ArrayBuffer> {
  const { numTrainTimesteps: n, betaSchedule, betaStart, betaEnd, trainedBetas } = config;
  const given = trainedBetas || !betaSchedule.endsWith("linear") ? betas(config) : undefined;
  const root = betaSchedule === "scaled_linear";
  const [start, end] = root ? [Math.sqrt(betaStart), Math.sqrt(betaEnd)] : [betaStart, betaEnd];
  let product = 1;
  return Float64Array.from({ length: n }, (_, i) => {
    const x = start + ((end - start) * i) / Math.max(1, n - 1);
    return (product *= 1 - (given?.[i] ?? (root ? x * x : x)));
  });
}
