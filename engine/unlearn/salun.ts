import { add, scale } from "../../kernels/elementwise.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { slice } from "../../kernels/slice.ts";
import { joined } from "../nn/array.ts";
import type { WeightSource } from "../nn/parameters.ts";
import { UsageError } from "../runtime/errors.ts";
import { Encodings, drawNoised, latentsInput } from "./common/noising.ts";
import { PictureBatches } from "./common/pictures.ts";
import { KeptPrediction, asLatents, readLatents, recordPrediction } from "./common/predict.ts";
import { Mask, signedGradients } from "./common/saliency.ts";
import { startTraining } from "./common/start.ts";
import type { Training, UnlearnSession } from "./training.ts";

/**
 * SalUn (Fan et al., arXiv 2310.12508; random_label.py, nsfw_removal.py): on pictures of the concept the model is led to what it predicts
 * itself under another label, and on retained pictures to the noise; only weights that the concept's gradient is large for may move.
 */
export async function startSalun(session: UnlearnSession): Promise<Training> {
  const { base, settings, images, draws, hooks } = session;
  const { latentSize, anchors, concepts } = settings;
  const [batch, alpha] = [settings.batch!, settings.alpha!];
  if (anchors.some((anchor) => anchor === "")) throw new UsageError("salun needs an anchor: the label that the concept's pictures get");
  if (settings.retain.length === 0 && !images.retain && !hooks.pictures) {
    throw new UsageError("salun needs retained prompts, or pictures of what is to stay");
  }
  const concept = await PictureBatches.of(session, "concept", images.concept, { prompts: concepts });
  const retain = await PictureBatches.of(session, "retain", images.retain, { prompts: settings.retain, seedOffset: settings.pictures! });
  const mask = settings.unmasked ? undefined : (session.mask ?? (await saliencyMask(session, concept.named("mask"))));

  const started = await startTraining(session, (g, model) => {
    const { prediction: both, context } = recordPrediction(g, model, latentsInput(g, model, "noised", 2 * batch, latentSize));
    const [forgotten, retained] = [slice(g, both, 0, batch, 0), slice(g, both, batch, batch, 0)];
    const forgetLoss = mseLoss(g, forgotten, g.tensor(pseudo.target));
    const retainLoss = mseLoss(g, retained, latentsInput(g, model, "noise", batch, latentSize));
    const loss = add(g, forgetLoss, scale(g, retainLoss, alpha));
    return { loss, kept: [loss, forgetLoss, retainLoss], rescaleAt: model.rescaleAt(both, context), outputs: { forgotten } };
  }, { masked: mask !== undefined }, (kind) => (kind === "mask" ? mask : undefined));
  const { model, trainer } = started;
  const pseudo = await KeptPrediction.for(model, batch, latentSize);
  const encodings = new Encodings(base);
  const labelOf = (prompt: string): string => anchors[Math.max(0, concepts.findIndex((c) => prompt.includes(c)))]!;

  return {
    ...started,
    losses: ["loss", "forget", "retain"],
    async step(index) {
      const { latents, prompts } = await concept.next(index, batch);
      const again = await concept.again(index, batch);
      const forget = drawNoised(base, draws, latents, { compVis: true });
      const same = forget.at(again);
      const kept = await retain.next(index, batch);
      const remain = drawNoised(base, draws, kept.latents, { prefix: "remain_", compVis: true });
      await pseudo.run(same.noised, forget.features, await encodings.of(prompts.map(labelOf)), session.signal);
      await hooks.observe?.("pseudo_out", () => readLatents(pseudo.target));
      await started.update(index, {
        noised: joined([forget.noised, remain.noised]),
        features: joined([forget.features, remain.features]),
        context: await encodings.of([...prompts, ...kept.prompts]),
        noise: remain.noise,
      });
      await hooks.observe?.("forget_out", async () => asLatents(await trainer.output("forgotten"), pseudo.target));
    },
  };
}

async function saliencyMask(session: UnlearnSession, pictures: PictureBatches): Promise<WeightSource> {
  await session.phase("mask");
  const { batch, maskShare } = session.settings;
  const gradients = await signedGradients(session, pictures, Math.ceil(pictures.count / batch!));
  try {
    return await Mask.of(gradients.tensors, maskShare!);
  } finally {
    gradients.destroy();
  }
}
