/** Reading a diffusers `scheduler_config.json`: names, class defaults, the pipeline's silent changes, and what is refused. */

/** The contract's names (`ddpm` is offered besides). */
export const SCHEDULER_NAMES = ["ddim", "ddpm", "lms", "pndm", "euler", "euler-ancestral", "dpm++2m"] as const;
export type SchedulerName = (typeof SCHEDULER_NAMES)[number];

/** The parsed JSON file, keys as diffusers writes them. Keys that the chosen scheduler does not know are ignored, as upstream. */
export type SchedulerJson = Readonly<Record<string, unknown>>;

export type PredictionType = "epsilon" | "v_prediction" | "sample";
export const TIMESTEP_SPACINGS = ["leading", "linspace", "trailing"] as const;
export type TimestepSpacing = (typeof TIMESTEP_SPACINGS)[number];

/** The noise schedule's part of a configuration. */
export interface NoiseScheduleConfig {
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  /** Given betas, instead of a schedule. */
  readonly trainedBetas?: readonly number[];
}

/** A configuration with the class's defaults filled in. */
export interface SchedulerConfig extends NoiseScheduleConfig {
  readonly name: SchedulerName;
  readonly predictionType: PredictionType;
  readonly timestepSpacing: TimestepSpacing;
  readonly stepsOffset: number;
  /** The "previous" alphas_cumprod of the last step is 1 rather than alphasCumprod[0] (DDIM, PNDM). */
  readonly setAlphaToOne: boolean;
  /** Limit of the predicted clean sample (DDIM, DDPM); undefined: no limit. */
  readonly clipSampleRange: number | undefined;
  readonly useKarrasSigmas: boolean;
  /** DPM-Solver++ order. */
  readonly solverOrder: 1 | 2;
  readonly solverType: "midpoint" | "heun";
  readonly lowerOrderFinal: boolean;
  readonly lambdaMinClipped: number;
  /** DDPM's noise. */
  readonly varianceType: "fixed_small" | "fixed_large";
}

/** A scheduler configuration that cannot be used; the message names the key. */
export class SchedulerConfigError extends Error {
  override readonly name = "SchedulerConfigError";
}

const CLASS_NAMES: Readonly<Record<string, SchedulerName>> = {
  DDIMScheduler: "ddim",
  DDPMScheduler: "ddpm",
  LMSDiscreteScheduler: "lms",
  PNDMScheduler: "pndm",
  EulerDiscreteScheduler: "euler",
  EulerAncestralDiscreteScheduler: "euler-ancestral",
  DPMSolverMultistepScheduler: "dpm++2m",
};

/** Our name for diffusers' `_class_name`. @throws SchedulerConfigError for a class that is not offered */
export function schedulerNameOf(className: unknown): SchedulerName {
  const name = typeof className === "string" && Object.hasOwn(CLASS_NAMES, className) ? CLASS_NAMES[className] : undefined;
  if (name === undefined) {
    throw new SchedulerConfigError(
      `scheduler class ${JSON.stringify(className)} is not offered; choose one of ${Object.keys(CLASS_NAMES).join(", ")}`,
    );
  }
  return name;
}

/**
 * What diffusers' StableDiffusionPipeline silently does to any scheduler it is given (v0.21, pipeline_stable_diffusion.py `__init__`):
 * `steps_offset` becomes 1 and `clip_sample` becomes false.
 */
export function pipelineSchedulerConfig(json: SchedulerJson): SchedulerJson {
  return { ...json, steps_offset: 1, clip_sample: false };
}

/**
 * The JSON with which a pipeline runs a scheduler of another name than the file's: as `pipelineSchedulerConfig`, and PNDM in its PLMS form
 * unless the file says otherwise, as every published Stable Diffusion does (the class's own default, Runge-Kutta steps first, is not
 * offered).
 * @param isXl StableDiffusionXLPipeline takes the file's numbers as they are
 */
export function schedulerJsonFor(name: SchedulerName, json: SchedulerJson, isXl = false): SchedulerJson {
  const own = name === "pndm" ? { skip_prk_steps: true, ...json } : json;
  return isXl ? own : pipelineSchedulerConfig(own);
}

/**
 * Only the noise schedule and the kind of prediction, so that every sampling choice takes its class default:
 * how the attack's reference code makes its LMS scheduler (linspace spacing, whatever the model's own file says).
 */
export function noiseScheduleOnly(json: SchedulerJson): SchedulerJson {
  const keep = ["num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type"];
  return Object.fromEntries(Object.entries(json).filter(([key]) => keep.includes(key)));
}

/** The JSON of the sampler of judged or scored pictures: LMS as the attack's reference makes it, the others as a pipeline runs them. */
export function judgedSchedulerJson(
  name: SchedulerName,
  { parts: { scheduler }, isXl }: { readonly parts: { readonly scheduler: SchedulerJson }; readonly isXl: boolean },
): SchedulerJson {
  return name === "lms" ? noiseScheduleOnly(scheduler) : schedulerJsonFor(name, scheduler, isXl);
}

/** Options that need more than the table form or that are not offered, with the values that switch them off. */
const REFUSED: Readonly<
  Record<string, { readonly allowed: readonly unknown[]; readonly names?: readonly SchedulerName[]; readonly default?: unknown }>
> = {
  thresholding: { allowed: [false] },
  rescale_betas_zero_snr: { allowed: [false] },
  use_exponential_sigmas: { allowed: [false] },
  use_beta_sigmas: { allowed: [false] },
  use_lu_lambdas: { allowed: [false] },
  use_flow_sigmas: { allowed: [false] },
  interpolation_type: { allowed: ["linear"], names: ["euler"] },
  timestep_type: { allowed: ["discrete"], names: ["euler"] },
  skip_prk_steps: { allowed: [true], names: ["pndm"], default: false },
  algorithm_type: { allowed: ["dpmsolver++", "deis"], names: ["dpm++2m"] },
  variance_type: { allowed: ["fixed_small", "fixed_large"], names: ["ddpm"] },
};

/**
 * Fills in the class defaults of diffusers v0.21 and checks every value. Keys that came later and change what v0.21 does are refused when
 * switched on; `final_sigmas_type` and the like, which v0.21 does not read, are ignored as it does.
 * @throws SchedulerConfigError naming the key, its value and what is possible
 */
export function parseSchedulerConfig(name: SchedulerName, json: SchedulerJson): SchedulerConfig {
  const bad = (key: string, value: unknown, expected: string): never => {
    throw new SchedulerConfigError(`scheduler ${name}: ${key} is ${JSON.stringify(value)}; expected ${expected}`);
  };
  const pick = <T extends string | number>(key: string, fallback: T, allowed: readonly T[]): T => {
    const value = json[key] ?? fallback;
    return allowed.find((a) => a === value) ?? bad(key, value, `one of ${allowed.join(", ")}`);
  };
  const flag = (key: string, fallback: boolean): boolean => {
    const value = json[key] ?? fallback;
    return typeof value === "boolean" ? value : bad(key, value, "true or false");
  };
  const number = (key: string, fallback: number, low: number, high: number, whole = false): number => {
    const value = json[key] ?? fallback;
    return typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value))
      ? value
      : bad(key, value, `${whole ? "a whole number" : "a number"} in ${low}..${high}`);
  };
  for (const [key, rule] of Object.entries(REFUSED)) {
    if (rule.names && !rule.names.includes(name)) continue;
    const value = json[key] ?? rule.default;
    if (value !== undefined && !rule.allowed.includes(value)) {
      bad(key, value, `${rule.allowed.map((a) => JSON.stringify(a)).join(" or ")} (other values are not supported)`);
    }
  }
  const discrete = name === "ddim" || name === "ddpm" || name === "pndm";
  const trained = json["trained_betas"] ?? undefined;
  if (
    trained !== undefined &&
    !(Array.isArray(trained) && trained.length > 0 && trained.every((b) => typeof b === "number" && b > 0 && b < 1))
  ) {
    bad("trained_betas", trained, "a list of numbers in (0, 1)");
  }
  const numTrainTimesteps = number("num_train_timesteps", 1000, 1, 1e6, true);
  if (Array.isArray(trained) && trained.length !== numTrainTimesteps) {
    bad("trained_betas", `${trained.length} values`, `num_train_timesteps = ${numTrainTimesteps} values`);
  }
  const clips = discrete && name !== "pndm" && flag("clip_sample", true);
  return {
    name,
    numTrainTimesteps,
    betaStart: number("beta_start", 0.0001, Number.MIN_VALUE, 1),
    betaEnd: number("beta_end", 0.02, Number.MIN_VALUE, 1),
    betaSchedule: pick("beta_schedule", "linear", ["linear", "scaled_linear", "squaredcos_cap_v2"]),
    ...(Array.isArray(trained) ? { trainedBetas: trained as number[] } : {}),
    predictionType: pick<PredictionType>(
      "prediction_type",
      "epsilon",
      name === "pndm" ? ["epsilon", "v_prediction"] : ["epsilon", "v_prediction", "sample"],
    ),
    timestepSpacing: pick<TimestepSpacing>("timestep_spacing", discrete ? "leading" : "linspace", TIMESTEP_SPACINGS),
    stepsOffset: number("steps_offset", 0, 0, numTrainTimesteps, true),
    setAlphaToOne: flag("set_alpha_to_one", name === "ddim"),
    clipSampleRange: clips ? number("clip_sample_range", 1, 0, Number.MAX_VALUE) : undefined,
    useKarrasSigmas: flag("use_karras_sigmas", false),
    solverOrder: name === "dpm++2m" ? pick<1 | 2>("solver_order", 2, [1, 2]) : 2,
    solverType: name === "dpm++2m" ? pick("solver_type", "midpoint", ["midpoint", "heun"]) : "midpoint",
    lowerOrderFinal: flag("lower_order_final", true),
    lambdaMinClipped: number("lambda_min_clipped", -Infinity, -Infinity, 0),
    varianceType: name === "ddpm" ? pick("variance_type", "fixed_small", ["fixed_small", "fixed_large"]) : "fixed_small",
  };
}
