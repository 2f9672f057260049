import { f32 } from "../../kernels/kernel.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { Graph } from "../runtime/graph.ts";
import type { HostArray } from "../runtime/program.ts";
import { recordNoiseLoss } from "../train/noise-loss.ts";
import type { RecordedLoss } from "../train/update.ts";
import { Encodings, drawNoised, idsOf } from "./common/noising.ts";
import { PictureBatches } from "./common/pictures.ts";
import { asLatents, latentTensor } from "./common/predict.ts";
import { type Started, clipping, startTraining } from "./common/start.ts";
import { componentOf } from "./common/trained-tensors.ts";
import type { Training, UnlearnSession } from "./training.ts";

/**
 * Plain training on pictures: the mean squared error of the predicted noise (or velocity), with AdamW, clipping, accumulated batches and a
 * running average. Source: diffusers, examples/text_to_image/train_text_to_image.py.
 */
export async function startFinetune(session: UnlearnSession): Promise<Training> {
  const { settings } = session;
  const trainsText = componentOf(settings.rule!) === "text_encoder";
  const average = settings.averageDecay !== null;
  const started = await startTraining(session, noiseLoss(session, trainsText), {
    decay: "decoupled",
    ...clipping(settings),
    batches: settings.accumulate!,
    average,
  });
  const training = await noiseTraining(session, started, trainsText);
  return { ...training, ...(average && { changed: () => started.trainer.tensors("average").list() }) };
}

/** The loss of a batch of noised pictures. @param trainsText the text encoder is a part of it; else its results are inputs */
export function noiseLoss({ settings: { batch, latentSize } }: UnlearnSession, trainsText: boolean) {
  return (g: Graph, model: StableDiffusion): RecordedLoss => {
    const { textEncoder, unet } = model.parts;
    const tokens = textEncoder.config.maxLength;
    const context = trainsText
      ? model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [batch!, tokens], dtype: "u32" })))
      : g.input("context", f32([batch!, tokens, unet.config.crossAttentionDim]));
    return recordNoiseLoss(g, model, context, batch!, latentSize);
  };
}

/** Steps of that loss on pictures of the concepts. */
export async function noiseTraining(session: UnlearnSession, started: Started, trainsText: boolean): Promise<Training> {
  const { base, settings, images, draws, hooks } = session;
  const [batch, accumulate] = [settings.batch!, settings.accumulate!];
  const pictures = await PictureBatches.of(session, "concept", images.concept, { prompts: settings.concepts });
  const encodings = new Encodings(base);
  const shape = latentTensor(base, "prediction", batch, settings.latentSize);
  return {
    ...started,
    losses: new Array<string>(accumulate).fill("loss"),
    async step(index) {
      for (let i = 0; i < accumulate; i++) {
        const { latents, prompts } = await pictures.next(index * accumulate + i, batch);
        const { noised, target, features } = drawNoised(base, draws, latents);
        const text: Record<string, HostArray> = trainsText ? { ids: idsOf(base, prompts) } : { context: await encodings.of(prompts) };
        await started.update(index, { noised, target, features, ...text });
        await hooks.observe?.("prediction", async () => asLatents(await started.trainer.output("prediction"), shape));
      }
    },
  };
}
