/** Beginning in the middle of a scheduler's steps, with a noised picture in place of noise (SDEdit, arXiv 2108.01073). */
import { alphaAt } from "./noise-schedule.ts";
import type { SamplerPlan } from "./plan.ts";

/** A noised latent is signal * clean + sigma * noise. */
export interface NoiseLevel {
  readonly signal: number;
  readonly sigma: number;
}

/**
 * The entry of a scheduler's list of timesteps that a strength begins at: steps - int(steps * strength), in double arithmetic, which
 * truncates (50 * 0.58 gives 28 steps). Source: diffusers v0.21, `get_timesteps` of pipeline_stable_diffusion_img2img.py.
 * @param strength 0 to 1; a strength too small for one step gives `steps`, which leaves nothing to do
 */
export function entryOf(steps: number, strength: number): number {
  return steps - Math.min(Math.trunc(steps * strength), steps);
}

/**
 * The noise level of the sample before step `index` of a plan, in the scheduler's own space: sigma-space samplers add sigma * noise to the
 * clean latent, the others mix by alphas_cumprod. After the last step it is the clean latent.
 * @param ac alphas_cumprod
 */
export function noiseLevelAt(plan: SamplerPlan, ac: Float32Array, index: number): NoiseLevel {
  const sigma = plan.sigmas?.[index];
  if (sigma !== undefined) return { signal: 1, sigma };
  const step = plan.steps[index];
  if (!step) return { signal: 1, sigma: 0 };
  const a = alphaAt(ac, step.timestep);
  return { signal: Math.sqrt(a), sigma: Math.sqrt(1 - a) };
}
