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
  judgedSchedulerJson,
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
export { ddimLevels, type DdimLevels } from "./ddim.ts";
export { entryOf, noiseLevelAt, type NoiseLevel } from "./entry.ts";
export { addNoise, alphasCumprod, betas, getVelocity } from "./noise-schedule.ts";
export { combine, modelInput, runSamplerStep, startSampler } from "./plan.ts";
export type { LinearCombination, Operand, SamplerPlan, SamplerState, SamplerStep, Store, Term } from "./plan.ts";

type MakePlan = (config: SchedulerConfig, ac: Float32Array, steps: number, options: Required<PlanOptions>) => SamplerPlan;

/** The steps from an entry of the list on, of a scheduler whose steps know nothing of each other. */
function sliced(whole: SamplerPlan, from: number): SamplerPlan {
  return { ...whole, steps: whole.steps.slice(from), ...(whole.sigmas && { sigmas: whole.sigmas.slice(from) }) };
}

// Functions and no calls: what a call makes stays in every bundle of the library, used or not.
const PLANS: Readonly<Record<SchedulerName, MakePlan>> = {
  ddim: (config, ac, steps, { eta, from }) => sliced(ddimPlan(config, ac, steps, eta), from),
  ddpm: (config, ac, steps, { from }) => sliced(ddpmPlan(config, ac, steps), from),
  lms: (config, ac, steps, { from }) => lmsPlan(config, ac, steps, from),
  pndm: (config, ac, steps, { from }) => pndmPlan(config, ac, steps, from),
  euler: (config, ac, steps, { from }) => sliced(eulerPlan(config, ac, steps), from),
  "euler-ancestral": (config, ac, steps, { from }) => sliced(eulerAncestralPlan(config, ac, steps), from),
  "dpm++2m": (config, ac, steps, { from }) => {
    if (from > 0) throw new SchedulerConfigError("scheduler dpm++2m cannot begin in the middle of its steps: take ddim, pndm or lms");
    return dpmMultistepPlan(config, ac, steps);
  },
};

/** How a sampling run differs from the scheduler's ordinary one. */
export interface PlanOptions {
  /** DDIM's share of fresh noise, 0..1. Default 0. */
  readonly eta?: number;
  /** The entry of the scheduler's list of timesteps to begin at, with a sample of that noise level. Default 0. */
  readonly from?: number;
}

/**
 * The table of a sampling run.
 * @param name which sampler; need not be the one the JSON was written for
 * @param json the model's `scheduler_config.json`; missing keys take the class's defaults. Used as it is: for what the field's
 *   pipeline does, give `pipelineSchedulerConfig(json)`, for the attack's reference `noiseScheduleOnly(json)`
 * @param steps inference steps, 1..num_train_timesteps (PNDM makes one model call more)
 * @throws SchedulerConfigError naming the option and its value
 */
export function createSamplerPlan(name: SchedulerName, json: SchedulerJson, steps: number, options: PlanOptions = {}): SamplerPlan {
  const config = checkedConfig(name, json, steps);
  const { eta = 0, from = 0 } = options;
  if (!(eta >= 0 && eta <= 1)) throw new SchedulerConfigError(`scheduler ${name}: eta must be in 0..1, got ${eta}`);
  if (eta > 0 && name !== "ddim") throw new SchedulerConfigError(`scheduler ${name}: eta is ${eta}, but only ddim takes it`);
  return PLANS[name](config, alphasCumprod(config), steps, { eta, from });
}

/**
 * DDIM's table with more fresh noise than the sampler was derived for, as the noise probe takes it.
 * @param eta share of fresh noise, 0 or more
 * @param varianceScale factor of that noise
 * @throws SchedulerConfigError naming the option and its value
 */
export function createNoisyPlan(json: SchedulerJson, steps: number, eta: number, varianceScale: number): SamplerPlan {
  const config = checkedConfig("ddim", json, steps);
  for (const [name, value] of Object.entries({ eta, varianceScale })) {
    if (!(value >= 0 && Number.isFinite(value))) throw new SchedulerConfigError(`scheduler ddim: ${name} must be at least 0, got ${value}`);
  }
  return ddimPlan(config, alphasCumprod(config), steps, eta, varianceScale);
}

/** @throws SchedulerConfigError */
function checkedConfig(name: SchedulerName, json: SchedulerJson, steps: number): SchedulerConfig {
  const config = parseSchedulerConfig(name, json);
  if (!Number.isInteger(steps) || steps < 1 || steps > config.numTrainTimesteps) {
    throw new SchedulerConfigError(`scheduler ${name}: steps must be a whole number in 1..${config.numTrainTimesteps}, got ${steps}`);
  }
  return config;
}
