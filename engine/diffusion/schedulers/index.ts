/** Every scheduler, by name: configuration in, table of steps out. */
import { parseSchedulerConfig, SchedulerConfigError, type SchedulerConfig, type SchedulerJson, type SchedulerName } from "./config.ts";
import { ddimPlan } from "./ddim.ts";
import { ddpmPlan } from "./ddpm.ts";
import { dpmMultistepPlan } from "./dpm-multistep.ts";
import { eulerAncestralPlan, eulerPlan } from "./euler.ts";
import { lmsPlan } from "./lms.ts";
import { alphasCumprod } from "./noise-schedule.ts";
import type { SamplerPlan } from "./plan.ts";
import { pndmPlan } from "./pndm.ts";

export {
  noiseScheduleOnly,
  parseSchedulerConfig,
  pipelineSchedulerConfig,
  SCHEDULER_NAMES,
  SchedulerConfigError,
  TIMESTEP_SPACINGS,
  schedulerJsonFor,
  schedulerNameOf,
} from "./config.ts";
export type { NoiseScheduleConfig, PredictionType, SchedulerConfig, SchedulerJson, SchedulerName, TimestepSpacing } from "./config.ts";
export { addNoise, alphasCumprod, betas, getVelocity } from "./noise-schedule.ts";
export { modelInput, runSamplerStep, startSampler } from "./plan.ts";
export type { LinearCombination, Operand, SamplerPlan, SamplerState, SamplerStep, Store, Term } from "./plan.ts";

const PLANS: Readonly<Record<SchedulerName, (config: SchedulerConfig, ac: Float32Array, steps: number, eta: number) => SamplerPlan>> = {
  ddim: ddimPlan,
  ddpm: ddpmPlan,
  lms: lmsPlan,
  pndm: pndmPlan,
  euler: eulerPlan,
  "euler-ancestral": eulerAncestralPlan,
  "dpm++2m": dpmMultistepPlan,
};

/**
 * The table of a sampling run.
 * @param name which sampler; need not be the one the JSON was written for
 * @param json the model's `scheduler_config.json`; missing keys take the class's defaults. Used as it is: for what the field's
 *   pipeline does, give `pipelineSchedulerConfig(json)`, for the attack's reference `noiseScheduleOnly(json)`
 * @param steps inference steps, 1..num_train_timesteps (PNDM makes one model call more)
 * @param options `eta`: DDIM's share of fresh noise, 0..1
 * @throws SchedulerConfigError naming the option and its value
 */
export function createSamplerPlan(
  name: SchedulerName,
  json: SchedulerJson,
  steps: number,
  options: { readonly eta?: number } = {},
): SamplerPlan {
  const config = parseSchedulerConfig(name, json);
  const { eta = 0 } = options;
  if (!Number.isInteger(steps) || steps < 1 || steps > config.numTrainTimesteps) {
    throw new SchedulerConfigError(`scheduler ${name}: steps must be a whole number in 1..${config.numTrainTimesteps}, got ${steps}`);
  }
  if (!(eta >= 0 && eta <= 1)) throw new SchedulerConfigError(`scheduler ${name}: eta must be in 0..1, got ${eta}`);
  if (eta > 0 && name !== "ddim") throw new SchedulerConfigError(`scheduler ${name}: eta is ${eta}, but only ddim takes it`);
  return PLANS[name](config, alphasCumprod(config), steps, eta);
}
