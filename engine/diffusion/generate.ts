import { type RgbImage, tensorToImages } from "../formats/picture/image.ts";
import { manualSeed } from "../runtime/random/random.ts";
import { type NDArray, joined } from "../nn/array.ts";
import { SLD_PARAMETERS, SLD_SAFETY_CONCEPT, type SldStrength } from "./guidance.ts";
import { type LearnedEmbedding, encodeLearned } from "./learned-embedding.ts";
import { type SampleInputs, Sampler } from "./sampler.ts";
import { type XlOptions, type XlSettings, xlSettings } from "./model/xl-options.ts";
import { type SchedulerName, type TimestepSpacing, createSamplerPlan, schedulerJsonFor, schedulerNameOf } from "./schedulers/index.ts";
import type { StableDiffusion } from "./stable-diffusion.ts";

export interface GenerateOptions extends XlOptions {
  readonly prompt: string;
  /** Default: none, which is the empty prompt, and for SDXL, which tells the two apart, an encoding of zeros. */
  readonly negativePrompt?: string | undefined;
  /** Default 50. */
  readonly steps?: number | undefined;
  /** Default: the model's own. */
  readonly scheduler?: SchedulerName | undefined;
  /** Which timesteps are visited. Default: as the model's scheduler says. Models made for few steps take "trailing". */
  readonly spacing?: TimestepSpacing | undefined;
  /** DDIM's share of fresh noise, 0 to 1. Default 0. */
  readonly eta?: number | undefined;
  /** Guidance scale; 1 or less: none. Default 7.5, of SDXL 5. */
  readonly guidance?: number | undefined;
  /** Seed of the first picture; the others have the next numbers. Default 0. */
  readonly seed?: number | undefined;
  /** Pictures. Default 1. */
  readonly count?: number | undefined;
  /** Pictures made together. Default 1. */
  readonly batch?: number | undefined;
  /** In pixels, multiples of the VAE's factor. Default: the model's own size. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** Safe Latent Diffusion, needs guidance above 1. */
  readonly sld?: SldStrength | undefined;
  /** SAFREE: phrases of a concept, separated by semicolons, that the prompt's encoding is moved away from. */
  readonly safree?: string | undefined;
  /** Words with embeddings of their own, for prompt and negative prompt. Default: none. */
  readonly learned?: readonly LearnedEmbedding[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Called when a step of one batch has been queued; `done` of `total` over all batches. A promise is waited for.
   * @param latents reads the batch's latents as they are now, [batch, C, h, w], e.g. to decode a preview
   */
  readonly onStep?: ((done: number, total: number, latents: () => Promise<NDArray>) => void | Promise<void>) | undefined;
}

export interface GeneratedImage {
  readonly seed: number;
  readonly image: RgbImage;
  /** Before rounding, [1, 3, H, W], about [-1, 1]. */
  readonly array: NDArray;
}

/** The options with every default filled in, as run records and PNG texts have them. */
export interface GenerateSettings extends Partial<XlSettings> {
  readonly prompt: string;
  /** null: none was given to SDXL. */
  readonly negativePrompt: string | null;
  readonly steps: number;
  readonly scheduler: SchedulerName;
  /** Only if it was asked for. */
  readonly spacing?: TimestepSpacing;
  readonly eta: number;
  readonly guidance: number;
  readonly width: number;
  readonly height: number;
  readonly sld: SldStrength | null;
  readonly safree: string | null;
}

/** @throws RangeError or SchedulerConfigError naming the option */
export function generateSettings(model: StableDiffusion, options: GenerateOptions): GenerateSettings {
  if (typeof options.prompt !== "string") throw new TypeError(`generate: prompt must be a text, got ${typeof options.prompt}`);
  const [latentHeight, latentWidth] = model.defaultLatentSize;
  const { factor } = model.parts.vae.config;
  const { guidance = model.isXl ? 5 : 7.5, sld, steps = 50, spacing } = options;
  const [height, width] = [options.height ?? latentHeight * factor, options.width ?? latentWidth * factor];
  const settings: GenerateSettings = {
    prompt: options.prompt,
    negativePrompt: options.negativePrompt ?? (model.isXl ? null : ""),
    steps,
    scheduler: options.scheduler ?? schedulerNameOf(model.parts.scheduler["_class_name"]),
    ...(spacing && { spacing }),
    eta: options.eta ?? 0,
    guidance,
    width,
    height,
    sld: sld ?? null,
    safree: options.safree ?? null,
    ...xlSettings(model, options, [height, width]),
  };
  if (!Number.isFinite(guidance)) throw new RangeError(`guidance must be a finite number, got ${guidance}`);
  if (sld && guidance <= 1) throw new RangeError(`Safe Latent Diffusion works on guidance: guidance must be above 1, got ${guidance}`);
  if (settings.safree !== null) checkSafree(model, settings.safree, options.learned ?? []);
  model.latentSize(settings.height, settings.width);
  return settings;
}

/** @throws RangeError for what SAFREE's masked prompts are not made for */
function checkSafree(model: StableDiffusion, phrases: string, learned: readonly LearnedEmbedding[]): void {
  if (!/[^\s;]/.test(phrases)) throw new RangeError("safree must be phrases, separated by semicolons");
  if (model.isXl) throw new RangeError("SAFREE is for models with one text encoder; SDXL has two");
  if (learned.length > 0) throw new RangeError("SAFREE masks tokens of a prompt: it does not go with a learned embedding");
}

/**
 * Text to image as the field's pipeline does it: the start noise of each picture is torch's CPU `randn([1, C, h, w])` of its own seed, and
 * noise that the scheduler adds later comes from the same stream. Source: diffusers 0.21 pipeline_stable_diffusion.py, with a generator per
 * picture.
 * @throws RangeError or SchedulerConfigError naming a bad option; UsageError for a learned embedding that does not fit; AbortError within a
 * command buffer or two of when `signal` says so
 */
export async function generate(model: StableDiffusion, options: GenerateOptions): Promise<GeneratedImage[]> {
  const settings = generateSettings(model, options);
  const { seed = 0, count = 1, batch = 1 } = options;
  for (const [name, value] of Object.entries({ count, batch })) {
    if (!Number.isInteger(value) || value < 1) throw new RangeError(`${name} must be a whole number of at least 1, got ${value}`);
  }
  const seeds = Array.from({ length: count }, (_, i) => seed + i);
  const json = { ...model.parts.scheduler, ...(settings.spacing && { timestep_spacing: settings.spacing }) };
  const { scheduler, steps } = settings;
  const plan = createSamplerPlan(scheduler, schedulerJsonFor(scheduler, json, model.isXl), steps, { eta: settings.eta });
  const stepsPerBatch = plan.steps.length;
  const total = stepsPerBatch * Math.ceil(count / batch);
  const images: GeneratedImage[] = [];
  for (let start = 0; start < count; start += batch) {
    const part = seeds.slice(start, start + batch);
    const before = (start / batch) * stepsPerBatch;
    const latents = await sample(model, settings, options.learned ?? [], plan, part, async (step, _steps, now) => {
      await options.onStep?.(before + step, total, now);
      options.signal?.throwIfAborted();
    }, options.signal);
    for (const [i, one] of rows(latents).entries()) {
      const array = await model.decodeLatents(one);
      images.push({ seed: part[i]!, image: tensorToImages(array.data, array.shape)[0]!, array });
    }
  }
  return images;
}

async function sample(
  model: StableDiffusion,
  settings: GenerateSettings,
  learned: readonly LearnedEmbedding[],
  plan: ReturnType<typeof createSamplerPlan>,
  seeds: readonly number[],
  onStep: NonNullable<SampleInputs["onStep"]>,
  signal: AbortSignal | undefined,
): Promise<NDArray> {
  const [height, width] = model.latentSize(settings.height, settings.width);
  const shape = [1, model.parts.unet.config.inChannels, height, width];
  const generators = seeds.map((s) => manualSeed(s));
  const drawNoise = (): Float32Array<ArrayBuffer> => joined(generators.map((g) => g.randn(shape)));
  const repeated = (one: NDArray): NDArray => ({ data: joined(seeds.map(() => one.data)), shape: [seeds.length, ...one.shape.slice(1)] });
  const encode = async (text: string | null, second = text): Promise<NDArray> =>
    repeated(text === null ? await model.encodeNoPrompt() : await encodeLearned(model, text, learned, second ?? text));
  await model.parts.transport?.to(model, settings.prompt);
  const context = await encode(settings.prompt, settings.prompt2);
  const sampler = Sampler.for(model, {
    batch: seeds.length,
    height,
    width,
    length: context.shape[1]!,
    guidance: settings.guidance,
    ...(settings.sld && { sld: SLD_PARAMETERS[settings.sld] }),
  });
  const early = settings.safree === null
    ? undefined
    : await (await import("./steering/safree-prompts.ts")).defendedEncoding(model, settings.prompt, settings.safree);
  return sampler.run({
    context,
    early: early && { ...early, context: repeated(early.context) },
    unconditional: settings.guidance > 1 ? await encode(settings.negativePrompt, settings.negativePrompt2) : context,
    sizes: settings.sizes,
    negativeSizes: settings.negativeSizes ?? undefined,
    ...(settings.sld && { safety: await encode(SLD_SAFETY_CONCEPT) }),
    noise: { data: drawNoise(), shape: [seeds.length, ...shape.slice(1)] },
    plan,
    drawNoise,
    onStep,
    signal,
  });
}

/** The rows of a batch, as batches of one. */
function rows({ data, shape }: NDArray): NDArray[] {
  const size = data.length / shape[0]!;
  return Array.from({ length: shape[0]! }, (_, i) => ({ data: data.slice(i * size, (i + 1) * size), shape: [1, ...shape.slice(1)] }));
}
