import { add, multiply, scale } from "../../kernels/elementwise.ts";
import { concat } from "../../kernels/concat.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { slice } from "../../kernels/slice.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { stackRows } from "../nn/array.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Program } from "../runtime/program.ts";
import { Tensor } from "../runtime/tensor.ts";
import type { PictureBatch } from "./common/batch.ts";
import { Encodings, drawNoised, latentsInput } from "./common/noising.ts";
import { PictureBatches } from "./common/pictures.ts";
import { KeptPrediction, asLatents, readLatents } from "./common/predict.ts";
import { clipping, startTraining } from "./common/start.ts";
import type { Training, UnlearnSession } from "./training.ts";

/**
 * Concept ablation (Kumari et al., arXiv 2303.13516; diffusers/train.py): on pictures of the anchor, the prediction for the prompt with the
 * concept is led to the one for the prompt with the anchor, both by the model as trained so far.
 *
 * The keys and values of the first token get no gradient (CustomDiffusionAttnProcessor detaches them): they are computed by a program of
 * their own before each step, and are numbers to the one that trains.
 */
export async function startConceptAblation(session: UnlearnSession): Promise<Training> {
  const { base, settings, images, draws, hooks, signal } = session;
  const { latentSize: [height, width], anchors, concepts } = settings;
  const [batch, prior] = [settings.batch!, settings.priorWeight!];
  if (anchors.some((anchor) => anchor === "")) throw new UsageError("concept-ablation needs an anchor: what the concept is turned into");
  const pictures = await PictureBatches.of(session, "concept", images.concept, { prompts: anchors });
  if (prior > 0 && settings.retain.length === 0 && !images.retain && !hooks.pictures) {
    throw new UsageError("a prior weight needs retained prompts, or pictures of what is to stay");
  }
  const retain = prior > 0
    ? await PictureBatches.of(session, "retain", images.retain, { prompts: settings.retain, seedOffset: settings.pictures! })
    : undefined;
  const rows = retain ? 2 * batch : batch;
  const { inChannels, crossAttentionDim } = base.parts.unet.config;
  const tokens = base.parts.textEncoder.config.maxLength;

  const started = await startTraining(session, (g, model) => {
    const context = g.input("context", f32([rows, tokens - 1, crossAttentionDim]));
    const others = model.recordTextProducts(g, context);
    const products = others.map((product, i) => concat(g, g.tensor(first.tensors[i]!), product, 1));
    const noised = g.input("noised", f32([rows, height, width, inChannels]));
    const prediction = model.recordUNet(g, noised, g.input("features", f32([rows, model.featureWidth])), products);
    const own: Value = retain ? slice(g, prediction, 0, batch, 0) : prediction;
    const weights = latentsInput(g, model, "weights", batch, [height, width]);
    const ablation = mseLoss(g, multiply(g, own, weights), multiply(g, g.tensor(anchor.target), weights));
    const outputs = { prediction };
    const rescaleAt = model.rescaleAt(prediction, context);
    if (!retain) return { loss: ablation, outputs, rescaleAt };
    const kept = mseLoss(g, slice(g, prediction, batch, batch, 0), latentsInput(g, model, "noise", batch, [height, width]));
    return { loss: add(g, ablation, scale(g, kept, prior)), outputs, rescaleAt };
  }, { decay: "decoupled", ...clipping(settings) });
  const { model, trainer } = started;
  const first = await FirstTokens.for(model, rows);
  const anchor = await KeptPrediction.for(model, batch, [height, width]);
  const encodings = new Encodings(base);

  return {
    ...started,
    losses: ["loss"],
    async step(index) {
      const own = await pictures.next(index, batch);
      const others = await retain?.next(index, batch);
      const { noised, noise, features } = drawNoised(base, draws, others ? stackRows([own.latents, others.latents]) : own.latents);
      const [prompts, anchorPrompts] = promptsOf(own, concepts, anchors);
      const half = (data: Float32Array<ArrayBuffer>, second = false): Float32Array<ArrayBuffer> =>
        retain ? data.slice(second ? data.length / 2 : 0, second ? data.length : data.length / 2) : data;
      await anchor.run(half(noised), half(features), await encodings.of(anchorPrompts), signal);
      await hooks.observe?.("target", () => readLatents(anchor.target));
      const context = await encodings.of([...prompts, ...(others?.prompts ?? [])]);
      await first.run(firstOf(context, rows, crossAttentionDim), signal);
      await started.update(index, {
        noised, features,
        context: othersOf(context, rows, crossAttentionDim),
        weights: pixelWeights(own, height * width, inChannels),
        ...(retain && { noise: half(noise, true) }),
      });
      const type = { type: f32([rows, height, width, inChannels]) };
      await hooks.observe?.("prediction", async () => asLatents(await trainer.output("prediction"), type));
    },
  };
}

/** The prompts with the concept, and those with the anchor, which the pictures have. @throws UsageError for one without its anchor */
function promptsOf(
  { prompts, anchors: recorded }: PictureBatch,
  concepts: readonly string[],
  anchors: readonly string[],
): readonly [readonly string[], readonly string[]] {
  if (recorded) return [prompts, recorded];
  const withConcept = prompts.map((prompt) => {
    const i = anchors.findIndex((anchor) => prompt.includes(anchor));
    if (i < 0) throw new UsageError(`a picture's prompt, ${JSON.stringify(prompt)}, does not have an anchor in it: ${anchors.join(", ")}`);
    return prompt.replace(anchors[i]!, concepts[i]!);
  });
  return [withConcept, prompts];
}

/**
 * Square roots of what each element's squared difference counts in a mean over all, so that the mean is that over the batch of
 * sum(mask d^2) / sum(mask): 4 times the plain one for a full mask, whose sum is over one channel.
 */
function pixelWeights({ latents, mask }: PictureBatch, pixels: number, channels: number): Float32Array<ArrayBuffer> {
  const weights = new Float32Array(latents.data.length);
  for (let b = 0; b < latents.shape[0]!; b++) {
    const own = mask?.data.subarray(b * pixels, (b + 1) * pixels) ?? new Float32Array(pixels).fill(1);
    const sum = own.reduce((a, x) => a + x, 0);
    own.forEach((m, p) => {
      const at = (b * pixels + p) * channels;
      weights.fill(Math.sqrt((m * pixels * channels) / sum), at, at + channels);
    });
  }
  return weights;
}

/** Token 0 of each row of [rows, T, D]. */
function firstOf(context: Float32Array<ArrayBuffer>, rows: number, width: number): Float32Array<ArrayBuffer> {
  const size = context.length / rows;
  return Float32Array.from({ length: rows * width }, (_, i) => context[Math.floor(i / width) * size + (i % width)]!);
}

/** All tokens but the first. */
function othersOf(context: Float32Array<ArrayBuffer>, rows: number, width: number): Float32Array<ArrayBuffer> {
  const size = context.length / rows;
  const result = new Float32Array(context.length - rows * width);
  for (let r = 0; r < rows; r++) result.set(context.subarray(r * size + width, (r + 1) * size), r * (size - width));
  return result;
}

/** Keys and values of each prompt's first token, [B, 1, columns], by the model as it is at the time. */
class FirstTokens {
  private constructor(readonly tensors: readonly Tensor[], private readonly program: Program) {}

  static async for(model: StableDiffusion, rows: number): Promise<FirstTokens> {
    const tensors: Tensor[] = [];
    const program = await model.program(`unlearn first tokens ${rows}`, (g) => {
      const products = model.recordTextProducts(g, g.input("context", f32([rows, 1, model.parts.unet.config.crossAttentionDim])));
      const made = products.map(({ type }, i) =>
        model.keep(`unlearn first token ${rows} ${i}`, () => new Tensor(model.device, `first token ${i}`, type)),
      );
      tensors.splice(0, tensors.length, ...made);
      return { outputs: {}, assigns: products.map((product, i) => [made[i]!, product] as const) };
    });
    return new FirstTokens(tensors, program);
  }

  /** Queues it. @param context [B, 1, D] */
  run(context: Float32Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    return this.program.run({ context }, { signal });
  }
}
