import { UsageError } from "../runtime/errors.ts";
import { manualSeed } from "../runtime/random/random.ts";
import { type NDArray, expectShape, stackRows } from "../nn/array.ts";
import type { LossKind, StableDiffusion } from "./stable-diffusion.ts";

/** One round of the elimination. */
export interface EliminationStage {
  /** Timesteps that each remaining prompt has been tried at when the stage ends. */
  readonly samples: number;
  /** Prompts that go on to the next stage; 1 in the last. */
  readonly keep: number;
}

export interface DiffusionClassifierOptions {
  /** The classes, each as a prompt that describes it; at least two. */
  readonly prompts: readonly string[];
  /** Default: DEFAULT_STAGES. */
  readonly stages?: readonly EliminationStage[] | undefined;
  /** Noises at each timestep. Default 1. */
  readonly trials?: number | undefined;
  /** How prediction and noise are compared. Default "mse". */
  readonly loss?: LossKind | undefined;
  /** Of the noise, as torch's CPU generator. Default 0. */
  readonly seed?: number | undefined;
  /** Predictions made together. Default 8. */
  readonly batch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each batch. `total` is over all stages. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface PromptScore {
  readonly prompt: string;
  /** Mean of `errors`; the smallest wins among those that were kept to the end. */
  readonly error: number;
  /** The error at each timestep and noise that the prompt was tried at, in their order. */
  readonly errors: readonly number[];
  /** Stages that it was tried in. */
  readonly stages: number;
}

export interface DiffusionClassification {
  /** Index of the winning prompt in the options'. */
  readonly index: number;
  /** In the order of the options' prompts. */
  readonly scores: readonly PromptScore[];
  /** Timesteps in the order they were tried, each once for every trial: entry i belongs to `errors[i]`. */
  readonly timesteps: readonly number[];
  /** Predictions made. */
  readonly predictions: number;
}

/** Few timesteps for all, then many for the best five. */
export const DEFAULT_STAGES: readonly EliminationStage[] = [
  { samples: 10, keep: 5 },
  { samples: 50, keep: 1 },
];

/**
 * The diffusion model as a zero-shot classifier: the prompt under which it predicts the noise in a picture best. All prompts see the same
 * noises and timesteps; after each stage only the best go on. Errors are means over the latents' elements, in float64.
 * Source: arXiv 2303.16203, algorithm 2; diffusion-classifier, eval_prob_adaptive.py. For a v-prediction model the target is the velocity.
 * @param image [1, 3, H, W] in [-1, 1]
 * @throws UsageError for bad options; ShapeError for the picture; AbortError
 */
export async function classifyByDiffusion(
  model: StableDiffusion,
  image: NDArray,
  options: DiffusionClassifierOptions,
): Promise<DiffusionClassification> {
  const { prompts, stages = DEFAULT_STAGES, trials = 1, loss = "mse", seed = 0, batch = 8 } = options;
  checkOptions(model, { prompts, stages, trials, batch });
  expectShape("image to classify", image, [1, 3, undefined, undefined]);
  const latents = await model.encodeImage(image);
  const contexts: NDArray[] = [];
  for (const prompt of prompts) contexts.push(await model.encodePrompt(prompt));

  const plan = planStages(model.alphasCumprod.length, stages);
  const size = latents.data.length;
  const noises = manualSeed(seed).randn([plan.flat().length * trials, size]);
  const noiseOf = (i: number): NDArray => ({
    data: noises.slice(i * size, (i + 1) * size) as Float32Array<ArrayBuffer>,
    shape: latents.shape,
  });
  const timesteps = plan.flat().flatMap((t) => new Array<number>(trials).fill(t));
  const errors: number[][] = prompts.map(() => []);
  const stagesOf = prompts.map(() => 0);
  const totals = stages.map(
    (_, s) => plan[s]!.length * trials * (s === 0 ? prompts.length : Math.min(prompts.length, stages[s - 1]!.keep)),
  );
  const total = totals.reduce((a, b) => a + b, 0);
  let predictions = 0;
  let tried = 0;
  let remaining = prompts.map((_, i) => i);
  for (const [s, { keep }] of stages.entries()) {
    const draws = Array.from({ length: plan[s]!.length * trials }, (_, i) => tried + i);
    tried += draws.length;
    const jobs = draws.flatMap((draw) => remaining.map((prompt) => ({ draw, prompt })));
    for (let first = 0; first < jobs.length; first += batch) {
      options.signal?.throwIfAborted();
      const part = jobs.slice(first, first + batch);
      // The last batch is filled up with its last job, so that one program does for all.
      const rows = Array.from(
        { length: Math.min(batch, Math.max(jobs.length, part.length)) },
        (_, i) => part[Math.min(i, part.length - 1)]!,
      );
      const measured = await predictionErrors(
        model,
        latents,
        rows.map(({ draw, prompt }) => ({ timestep: timesteps[draw]!, noise: noiseOf(draw), context: contexts[prompt]! })),
        loss,
      );
      part.forEach(({ prompt }, i) => errors[prompt]!.push(measured[i]!));
      predictions += part.length;
      options.onProgress?.(predictions, total);
    }
    for (const prompt of remaining) stagesOf[prompt]!++;
    remaining = remaining.toSorted((a, b) => mean(errors[a]!) - mean(errors[b]!) || a - b).slice(0, keep);
  }
  const scores = prompts.map((prompt, i) => ({ prompt, error: mean(errors[i]!), errors: errors[i]!, stages: stagesOf[i]! }));
  return { index: remaining[0]!, scores, timesteps, predictions };
}

/** One prediction: a noise [1, C, h, w] at a timestep, under a prompt's encoding [1, length, D]. */
export interface ErrorSample {
  readonly timestep: number;
  readonly noise: NDArray;
  readonly context: NDArray;
}

/**
 * How far the model's predictions, made as one batch, are from the noise (or velocity) in a picture's latents [1, C, h, w]: means over
 * their elements, in float64.
 */
export async function predictionErrors(
  model: StableDiffusion,
  latents: NDArray,
  samples: readonly ErrorSample[],
  loss: LossKind,
): Promise<number[]> {
  const size = latents.data.length;
  const made = samples.map(({ noise, timestep }) => model.addNoise(latents, noise, timestep));
  const { data } = await model.predictNoise(
    stackRows(made.map((x) => x.noised)),
    samples.map((s) => s.timestep),
    stackRows(samples.map((s) => s.context)),
  );
  return made.map(({ target }, i) => distance(data.subarray(i * size, (i + 1) * size), target.data, loss));
}

/**
 * The timesteps that each stage adds: of as many as the last stage has, evenly over the schedule from its middle, every stage takes an even
 * share and leaves out those already tried (`eval_prob_adaptive`).
 */
export function planStages(total: number, stages: readonly EliminationStage[]): number[][] {
  const most = Math.max(...stages.map((s) => s.samples));
  const stride = Math.floor(total / most);
  const all = Array.from({ length: most }, (_, i) => Math.floor(stride / 2) + i * stride);
  const seen = new Set<number>();
  return stages.map(({ samples }) => {
    const step = Math.floor(most / samples);
    const fresh = Array.from({ length: samples }, (_, i) => all[Math.floor(step / 2) + i * step]!).filter((t) => !seen.has(t));
    for (const t of fresh) seen.add(t);
    return fresh;
  });
}

function checkOptions(
  model: StableDiffusion,
  { prompts, stages, trials, batch }: { prompts: readonly string[]; stages: readonly EliminationStage[]; trials: number; batch: number },
): void {
  if (prompts.length < 2) throw new UsageError(`the diffusion classifier chooses between prompts: give at least 2, got ${prompts.length}`);
  const twice = prompts.find((p, i) => prompts.indexOf(p) !== i);
  if (twice !== undefined) throw new UsageError(`the diffusion classifier was given the prompt ${JSON.stringify(twice)} twice`);
  const steps = model.alphasCumprod.length;
  for (const [name, value, most] of [
    ["trials", trials, Infinity],
    ["batch", batch, Infinity],
    ...stages.map((s) => ["samples", s.samples, steps] as const),
    ...stages.map((s) => ["keep", s.keep, Infinity] as const),
  ] as const) {
    if (!Number.isSafeInteger(value) || value < 1 || value > most) {
      throw new UsageError(
        `the diffusion classifier's ${name} must be a whole number ${most === Infinity ? "of at least 1" : `from 1 to ${most}`}, ` +
          `got ${value}`,
      );
    }
  }
  const grows = stages.every((s, i) => i === 0 || (s.samples >= stages[i - 1]!.samples && s.keep <= stages[i - 1]!.keep));
  if (!grows || stages.at(-1)?.keep !== 1) {
    throw new UsageError(
      "the diffusion classifier's stages must try more timesteps and keep fewer prompts each, and keep 1 in the last; got samples " +
        `${stages.map((s) => s.samples).join(", ")} and keep ${stages.map((s) => s.keep).join(", ")}`,
    );
  }
}

function distance(a: Float32Array, b: Float32Array, loss: LossKind): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const d = a[i]! - b[i]!;
    sum += loss === "mse" ? d * d : Math.abs(d);
  }
  return sum / a.length;
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
