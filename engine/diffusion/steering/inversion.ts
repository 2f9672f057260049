import type { NDArray } from "../../nn/array.ts";
import { type SamplerPlan, combine } from "../schedulers/index.ts";
import type { Predict } from "./denoise.ts";
import type { Inversion } from "./inversions.ts";
import { type RegularizationOptions, regularizeNoise } from "./noise-regularization.ts";

/** How often a step's prediction is repeated, and what is done to it below a timestep. Defaults: MFC, src/renoise/config.py. */
export interface RenoiseOptions {
  /** Repetitions after a step's first prediction. */
  readonly steps: number;
  /** The same below `firstTimestep`. */
  readonly firstSteps: number;
  /** Timesteps below this are "first steps". */
  readonly firstTimestep: number;
  /** Predictions first to last, the last left out, that are averaged below `firstTimestep` and from there on; null: none are averaged. */
  readonly average: { readonly first: readonly [number, number]; readonly later: readonly [number, number] } | null;
  /** null: the prediction is left as it is. */
  readonly regularization: RegularizationOptions | null;
}

export const RENOISE: RenoiseOptions = {
  steps: 5,
  firstSteps: 5,
  firstTimestep: 250,
  average: { first: [0, 5], later: [8, 10] },
  regularization: { klWeight: 0.065, correlationWeight: 20, rounds: 4, rolls: 5, patch: 4 },
};

export interface InversionOptions {
  readonly form: Inversion;
  /** Clean latents, [1, C, h, w]. */
  readonly latents: NDArray;
  readonly predict: Predict;
  /** The sampler's timesteps, falling. */
  readonly timesteps: readonly number[];
  /** alphas_cumprod */
  readonly alphas: Float32Array;
  /** Of "fixed-point" (without averaging and regularisation) and "renoise". Default RENOISE. */
  readonly renoise?: RenoiseOptions | undefined;
  /** A whole number from 0 to below `limit`: how far the regularisation rolls. Needed by "renoise". */
  readonly roll?: ((limit: number) => number) | undefined;
  readonly onStep?: ((step: number, steps: number) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Carries clean latents to noise, one DDIM step after the other. With x at alpha a and prediction e, the same x at alpha b is
 * sqrt(b) (x - sqrt(1 - a) e) / sqrt(a) + sqrt(1 - b) e.
 *
 * - "nti" (Memories of Forgotten Concepts, arXiv 2412.00782, src/nti.py): e at the lower timestep T[i], to T[i + 1]; N - 1 steps.
 * - "fixed-point": e at the upper timestep, repeated from the last estimate; from a stride below T[i] to T[i]; N steps.
 * - "renoise" (ReNoise, arXiv 2403.14602; the former repository's default): the same, and below a timestep the predictions are averaged and
 *   made more like noise.
 * - "memora" (MemoRa, arXiv 2510.03263): e at the upper timestep once, T[1] to T[N - 2]; N - 2 steps.
 *
 * @returns the latents after every step; the last are the start noise
 * @throws what `predict` throws; AbortError
 */
export async function invert(options: InversionOptions): Promise<NDArray[]> {
  const { form, latents, predict, alphas, onStep, signal } = options;
  const rising = options.timesteps.toReversed();
  const stride = rising.length > 1 ? rising[1]! - rising[0]! : alphas.length;
  const below = (t: number): number => alphas[Math.max(0, t - stride)]!;
  const steps = {
    nti: rising.slice(1).map((t, i) => ({ at: rising[i]!, from: alphas[rising[i]!]!, to: alphas[t]! })),
    memora: rising.slice(1, -1).map((t) => ({ at: t, from: below(t), to: alphas[t]! })),
    "fixed-point": rising.map((t) => ({ at: t, from: below(t), to: alphas[t]! })),
    renoise: rising.map((t) => ({ at: t, from: below(t), to: alphas[t]! })),
  }[form];
  const made: NDArray[] = [];
  let x = latents;
  for (const [i, { at, from, to }] of steps.entries()) {
    signal?.throwIfAborted();
    const move = (e: Float32Array): NDArray => moved(x, e, from, to);
    x = form === "nti" || form === "memora" ? move(await predict(x, at, i)) : await repeatedStep(options, x, move, at, i);
    made.push(x);
    await onStep?.(i + 1, steps.length);
  }
  return made;
}

/** The step's fixed point: the prediction is made again where it leads to. The first is of the latents before the step. */
async function repeatedStep(
  { form, latents, predict, roll, renoise = RENOISE, signal }: InversionOptions,
  before: NDArray,
  move: (e: Float32Array) => NDArray,
  timestep: number,
  step: number,
): Promise<NDArray> {
  const first = timestep < renoise.firstTimestep;
  const repeats = first ? Math.min(renoise.firstSteps, renoise.steps) : renoise.steps;
  const { average, regularization } = form === "renoise" ? renoise : { average: null, regularization: null };
  const [low, high] = average ? (first ? average.first : average.later) : [Infinity, Infinity];
  const regularizes = (pass: number): boolean => regularization !== null && (average ? pass >= low : pass > 0);
  // The noise that predictions are made like is that of the clean latents: published code replaces the noising by the identity.
  const like = regularization && (average ? low <= repeats : true) ? await predict(latents, timestep, step) : undefined;
  const regular = (e: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> => {
    if (!roll) throw new Error("inversion \"renoise\" needs random rolls");
    return regularizeNoise({ data: e, shape: before.shape }, like!, regularization!, roll);
  };
  let mean: Float32Array<ArrayBuffer> | undefined;
  let x = before;
  for (let pass = 0; pass <= repeats; pass++) {
    signal?.throwIfAborted();
    let e = await predict(x, timestep, step);
    const seen = pass - low;
    if (pass >= low && pass < high) mean = mean ? mean.map((m, i) => (seen * m) / (seen + 1) + e[i]! / (seen + 1)) : e;
    if (regularizes(pass)) e = regular(e);
    x = move(e);
  }
  return mean ? move(regularization ? regular(mean) : mean) : x;
}

/**
 * MemoRa's own forward loop from a DDIM plan: its last step goes to timestep 1 at the lowest, so that a plan that ends at 1 changes
 * nothing there.
 */
export function memoraPlan(plan: SamplerPlan, alphas: Float32Array): SamplerPlan {
  const last = plan.steps.at(-1)!;
  const { keep, share } = moveBetween(alphas[last.timestep]!, alphas[1]!);
  return { ...plan, steps: [...plan.steps.slice(0, -1), { ...last, next: combine([["sample", keep], ["output", share]]) }] };
}

/** Latents at alpha `a` with prediction e, at alpha `b`. */
function moved({ data, shape }: NDArray, e: Float32Array, a: number, b: number): NDArray {
  const { keep, share } = moveBetween(a, b);
  return { data: data.map((x, i) => keep * x + share * e[i]!), shape };
}

/** A DDIM step without noise from alpha a to alpha b is keep * x + share * e. */
function moveBetween(a: number, b: number): { readonly keep: number; readonly share: number } {
  const keep = Math.sqrt(b / a);
  return { keep, share: Math.sqrt(1 - b) - keep * Math.sqrt(1 - a) };
}

/** Spherical interpolation between two latents, `weight` of the way to the second. Source: Shoemake 1985. */
export function slerp(a: NDArray, b: NDArray, weight: number): NDArray {
  let [dot, normA, normB] = [0, 0, 0];
  for (let i = 0; i < a.data.length; i++) {
    dot += a.data[i]! * b.data[i]!;
    normA += a.data[i]! ** 2;
    normB += b.data[i]! ** 2;
  }
  const cosine = dot / Math.sqrt(normA * normB);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const [u, v] =
    Math.abs(Math.sin(angle)) < 1e-6
      ? [1 - weight, weight]
      : [Math.sin((1 - weight) * angle) / Math.sin(angle), Math.sin(weight * angle) / Math.sin(angle)];
  return { data: a.data.map((x, i) => u * x + v * b.data[i]!), shape: a.shape };
}
