import type { NDArray } from "../../nn/array.ts";
import { type SamplerPlan, modelInput, runSamplerStep, startSampler } from "../schedulers/index.ts";

/**
 * A model's answer for a sample [1, C, h, w], as the scheduler takes it: guided, composed of several prompts, or changed by a classifier.
 * @param step from 0
 */
export type Predict = (sample: NDArray, timestep: number, step: number) => Promise<Float32Array<ArrayBuffer>>;

export interface DenoiseOptions {
  readonly plan: SamplerPlan;
  /** Latents of the noise level before the plan's first step, [1, C, h, w]. */
  readonly start: NDArray;
  readonly predict: Predict;
  /** Fresh unit-normal noise of the latents' shape, for plans that add some. */
  readonly drawNoise?: (() => Float32Array<ArrayBuffer>) | undefined;
  /** Changes the latents after each step, e.g. to keep a part of a picture. */
  readonly after?: ((latents: Float32Array, step: number) => Float32Array) | undefined;
  /** Called when a step is done. */
  readonly onStep?: ((step: number, steps: number, latents: NDArray) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The sampling loop of the probes, which reach in between a prediction and its update: the latents come to the host at every step.
 * They are 16,384 numbers for a picture of 512x512, so that costs little beside a UNet pass. `Sampler` keeps them on the device.
 * @returns the final latents [1, C, h, w]
 * @throws what `predict` throws; Error for a plan that adds noise without `drawNoise`; AbortError
 */
export async function denoise({ plan, start, predict, drawNoise, after, onStep, signal }: DenoiseOptions): Promise<NDArray> {
  const { shape } = start;
  const state = startSampler({ ...plan, initNoiseSigma: 1 }, start.data);
  for (const [i, step] of plan.steps.entries()) {
    signal?.throwIfAborted();
    const output = await predict({ data: modelInput(step, state) as Float32Array<ArrayBuffer>, shape }, step.timestep, i);
    runSamplerStep(step, state, output, step.needsNoise ? drawNoise?.() : undefined);
    if (after) state.sample = Float32Array.from(after(state.sample, i));
    await onStep?.(i + 1, plan.steps.length, { data: state.sample as Float32Array<ArrayBuffer>, shape });
  }
  return { data: state.sample as Float32Array<ArrayBuffer>, shape };
}
