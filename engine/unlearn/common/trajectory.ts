import { Sampler } from "../../diffusion/sampler.ts";
import {
  type SamplerPlan, createSamplerPlan, noiseScheduleOnly, parseSchedulerConfig, schedulerJsonFor, schedulerNameOf,
} from "../../diffusion/schedulers/index.ts";
import { ddimPlan } from "../../diffusion/schedulers/ddim.ts";
import { roundHalfEven } from "../../diffusion/schedulers/spacing.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { type NDArray, stackRows } from "../../nn/array.ts";
import { compVisAlphasCumprod } from "./compvis-noise.ts";
import type { Settings } from "../options.ts";
import type { Draws } from "./draws.ts";

/**
 * The DDIM of CompVis's code as the erasing methods call it: timesteps j * (1000 / S) + 1, of which the first that would be made,
 * j = S - 1, is dropped (`timesteps[:-1]` in their copy of it), although it begins with pure noise.
 * @param toStep the trajectory ends there: S - max(toStep, 1) steps are made
 */
export function compVisPlan(model: StableDiffusion, steps: number, toStep: number): SamplerPlan {
  const json = { ...noiseScheduleOnly(model.parts.scheduler), steps_offset: 1, set_alpha_to_one: false, clip_sample: false };
  const config = parseSchedulerConfig("ddim", json);
  const whole = ddimPlan(config, Float32Array.from(compVisAlphasCumprod(config)), steps, 0);
  return { ...whole, steps: whole.steps.slice(1, 1 + steps - Math.max(toStep, 1)) };
}

/** Where a trajectory of `steps` steps ends, and a timestep there, by CompVis's DDIM. @param prefix of the draws' names */
export function compVisTime(
  draws: Draws,
  model: StableDiffusion,
  steps: number,
  prefix = "",
): { readonly end: number; readonly timestep: number } {
  const end = draws.whole(`${prefix}t_enc`, 0, steps);
  const total = model.alphasCumprod.length;
  const [low, high] = [end, end + 1].map((j) => roundHalfEven((j / steps) * total)) as [number, number];
  return { end, timestep: draws.whole(`${prefix}t`, low, high) };
}

/** The pipeline's own scheduler; with PNDM one entry more than steps, the second timestep twice. */
export function pipelinePlan(model: StableDiffusion, steps: number): SamplerPlan {
  const name = schedulerNameOf(model.parts.scheduler["_class_name"]);
  return createSamplerPlan(name, schedulerJsonFor(name, model.parts.scheduler, model.isXl), steps);
}

/** Draws trajectories of a batch with one model; their ends stay on the device, in `sampler.sample`. */
export class Trajectories {
  readonly sampler: Sampler;

  constructor(
    model: StableDiffusion,
    { guidance, latentSize: [height, width] }: Pick<Settings, "guidance" | "latentSize">,
    batch: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    const length = model.text.encodingRows(model.parts.textEncoder.config.maxLength);
    this.sampler = Sampler.for(model, { batch, height, width, length, guidance: guidance! });
  }

  /** @param contexts text encodings [1, T, D], one for each of the batch @param noise unit-normal, [batch, C, h, w] */
  run(plan: SamplerPlan, contexts: readonly NDArray[], unconditional: NDArray, noise: NDArray): Promise<void> {
    return this.sampler.queue({
      context: stackRows(contexts),
      unconditional: stackRows(contexts.map(() => unconditional)),
      noise, plan,
      drawNoise: () => {
        throw new Error("a trajectory of an erasing method adds no noise");
      },
      signal: this.signal,
    });
  }
}
