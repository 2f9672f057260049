import { add, scale } from "../../kernels/elementwise.ts";
import { concat } from "../../kernels/concat.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { slice } from "../../kernels/slice.ts";
import { roundHalfEven } from "../diffusion/schedulers/spacing.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { NDArray } from "../nn/array.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { Graph } from "../runtime/graph.ts";
import type { RecordedLoss } from "../train/update.ts";
import { InnerAttack, withEmbeddings } from "./shared/inner-attack.ts";
import { idsOf } from "./shared/noising.ts";
import { CombinedPrediction, asLatents, latentTensor, readLatents } from "./shared/predict.ts";
import { contentTokens, encodePrompt, stacked } from "./shared/prompts.ts";
import { startTraining } from "./shared/start.ts";
import { Trajectories, compVisPlan } from "./shared/trajectory.ts";
import type { Training, UnlearnSession } from "./training.ts";

/**
 * AdvUnlearn (Zhang et al., arXiv 2405.15234; AdvUnlearn.py): the text encoder is trained as ESD trains the UNet, on the concept's prompt
 * with embeddings that an inner attack has found against it, while retained prompts keep their predictions.
 * The UNet never changes, and every trajectory uses the original text encoder.
 */
export async function startAdvUnlearn(session: UnlearnSession): Promise<Training> {
  const { base, settings, draws, hooks, signal, resume } = session;
  const { latentSize: [height, width], samplingSteps, retain, concepts, attackWarmup, attackSteps, attackTokens, attackInit } = settings;
  const [steps, n, k, retained] = [samplingSteps!, settings.negativeGuidance!, attackTokens!, settings.retainBatch!];
  const published = settings.recipe === "advunlearn-2024";
  const separate = settings.retainMode === "iter";
  if (retain.length === 0) throw new UsageError("advunlearn needs retained prompts: give --retain");
  if (concepts.length > 1) throw new UsageError("advunlearn erases one concept at a time");
  const [concept] = concepts as readonly [string];
  const tokens = base.tokenizer.maxLength;
  const plainIds = idsOf(base, [concept]);
  const othersIds = withoutPlaces(plainIds, published ? concept.split(" ").length : contentTokens(base.tokenizer, concept).length, k);
  const [text, empty] = [await encodePrompt(base, concept), await encodePrompt(base, "")];

  const own = new Trajectories(base, settings, 1, signal);
  const others = new Trajectories(base, settings, retained, signal);
  // Of their own, since both may have one sampler.
  const z = latentTensor(base, "latents", 1, [height, width]);
  const zRetained = latentTensor(base, "retained latents", retained, [height, width]);
  const frozen = await CombinedPrediction.for(base, "advunlearn", z, 2);
  const attacked = await CombinedPrediction.for(base, "advunlearn attack", z, 1);
  const kept = await CombinedPrediction.for(base, "advunlearn retain", zRetained, 1);

  const started = await startTraining(session, (g, model, loss) => recordLoss(g, model, loss));
  const { model, trainer } = started;
  const attack = new InnerAttack(model, z, attacked.target, {
    tokens: k, learningRate: settings.attackLearningRate!, kind: settings.attack!, published,
  });
  const handedOn = (resume?.json as { method?: { used?: number[] } } | undefined)?.method?.used;
  if (handedOn) attack.used.write(Float32Array.from(handedOn));

  function recordLoss(g: Graph, trained: StableDiffusion, loss: string): RecordedLoss {
    const features = (rows: number): Value => g.input("features", f32([rows, trained.featureWidth]));
    const embeddings = (): Value =>
      loss.startsWith("plain")
        ? trained.recordEmbeddings(g, g.input("ids", { shape: [1, tokens], dtype: "u32" }))
        : withEmbeddings(g, trained, g.input("ids", { shape: [1, tokens - k], dtype: "u32" }), g.tensor(attack.used));
    const keptEmbeddings = (): Value => trained.recordEmbeddings(g, g.input("retainIds", { shape: [retained, tokens], dtype: "u32" }));
    const keptLatents = (): Value => g.tensor(zRetained);
    const keptTarget = (): Value => g.tensor(kept.target);
    const rescale = (prediction: Value, context: Value): readonly Value[] => trained.rescaleAt(prediction, context);
    if (loss === "retain") {
      const context = trained.recordTextEncoder(g, keptEmbeddings());
      const prediction = trained.recordUNet(g, keptLatents(), features(retained), context);
      return { loss: mseLoss(g, prediction, keptTarget()), rescaleAt: rescale(prediction, context), outputs: { retained: prediction } };
    }
    if (separate) {
      const context = trained.recordTextEncoder(g, embeddings());
      const prediction = trained.recordUNet(g, g.tensor(z), features(1), context);
      return { loss: mseLoss(g, prediction, g.tensor(frozen.target)), rescaleAt: rescale(prediction, context), outputs: { prediction } };
    }
    const context = trained.recordTextEncoder(g, concat(g, embeddings(), keptEmbeddings(), 0));
    const both = trained.recordUNet(g, concat(g, g.tensor(z), keptLatents(), 0), features(1 + retained), context);
    const [prediction, retainedPrediction] = [slice(g, both, 0, 1, 0), slice(g, both, 1, retained, 0)];
    const unlearnLoss = mseLoss(g, prediction, g.tensor(frozen.target));
    const retainLoss = mseLoss(g, retainedPrediction, keptTarget());
    const whole = add(g, unlearnLoss, scale(g, retainLoss, settings.retainWeight!));
    return {
      loss: whole, kept: [unlearnLoss, retainLoss], rescaleAt: rescale(both, context),
      outputs: { prediction, retained: retainedPrediction },
    };
  }

  const shape = [1, base.parts.unet.config.inChannels, height, width];
  const total = base.alphasCumprod.length;
  const drawTime = (prefix: string): { readonly end: number; readonly timestep: number } => {
    const end = draws.whole(`${prefix}t_enc`, 0, steps);
    const [low, high] = [end, end + 1].map((j) => roundHalfEven((j / steps) * total)) as [number, number];
    return { end, timestep: draws.whole(`${prefix}t`, low, high) };
  };
  const trajectory = async (end: number, prefix: string): Promise<void> => {
    await own.run(compVisPlan(base, steps, end), [text], empty, { data: draws.normal(`${prefix}start`, shape), shape });
    own.sampler.sample.copyTo(z);
  };

  const runAttack = async (): Promise<void> => {
    const fresh = attackInit === "random" || !attackBegan;
    await attack.start(fresh ? Uint32Array.from({ length: k }, () => draws.whole("attack.init_ids", 0, vocabulary)) : undefined);
    attackBegan = true;
    await hooks.observe?.("attack.init", () => readRows(attack.rows));
    for (let i = 0; i < attackSteps!; i++) {
      const { end, timestep } = drawTime("attack.");
      await trajectory(end, "attack.");
      await hooks.observe?.("attack.z", () => readLatents(z));
      await attacked.run(timestep, text.data, [1], signal);
      await attack.run(othersIds, timestep, signal);
      await hooks.observe?.("attack.loss", () => attack.read("loss", othersIds.length));
      await hooks.observe?.("attack.grad", () => attack.read("gradient", othersIds.length));
      await hooks.observe?.("attack.grad_used", () => attack.read("followed", othersIds.length));
      await hooks.observe?.("attack.adv", () => readRows(attack.rows));
    }
    await hooks.observe?.("attack.used", () => readRows(attack.used));
  };
  const vocabulary = base.parts.textEncoder.config.vocabularySize;
  let attackBegan = handedOn !== undefined;

  /** Latents of retained prompts and the unchanged model's predictions for them. */
  const retainedBatch = async (end: number, timestep: number): Promise<Uint32Array<ArrayBuffer>> => {
    const prompts = Array.from({ length: retained }, () => retain[draws.whole("retain_index", 0, retain.length)]!);
    const texts: NDArray[] = [];
    for (const prompt of prompts) texts.push(await encodePrompt(base, prompt));
    const noiseShape = [retained, ...shape.slice(1)];
    await others.run(compVisPlan(base, steps, end), texts, empty, { data: draws.normal("retain_start", noiseShape), shape: noiseShape });
    others.sampler.sample.copyTo(zRetained);
    await hooks.observe?.("retain_z", () => readLatents(zRetained));
    await kept.run(timestep, stacked(texts).data, [1], signal);
    await hooks.observe?.("retain_eps_p", () => kept.read(0));
    return idsOf(base, prompts);
  };
  const like = (rows: number) => ({ type: f32([rows, height, width, shape[1]!]) });

  return {
    ...started,
    losses: ["unlearn", "retain"],
    async step(index) {
      const adversarial = index >= attackWarmup!;
      if (adversarial) await runAttack();
      const { end, timestep } = drawTime("");
      await trajectory(end, "");
      await hooks.observe?.("z", () => readLatents(z));
      await frozen.run(timestep, stacked([empty, text]).data, [1 + n, -n], signal);
      await hooks.observe?.("eps_0", () => frozen.read(0));
      await hooks.observe?.("eps_p", () => frozen.read(1));
      await hooks.observe?.("target", () => readLatents(frozen.target));
      const ids = adversarial ? othersIds : plainIds;
      const kind = adversarial ? "adversarial" : "plain";
      const features = (rows: number, t: number): Float32Array<ArrayBuffer> => model.timestepFeatures(new Array<number>(rows).fill(t));
      if (!separate) {
        const retainIds = await retainedBatch(end, timestep);
        await started.update(index, { ids, retainIds, features: features(1 + retained, timestep) }, kind);
      } else {
        await started.update(index, { ids, features: features(1, timestep) }, kind);
      }
      await hooks.observe?.("prediction", async () => asLatents(await trainer.output("prediction"), like(1)));
      if (separate) {
        const time = drawTime("retain_");
        const retainIds = await retainedBatch(time.end, time.timestep);
        await started.update(index, { retainIds, features: features(retained, time.timestep) }, "retain");
      }
      await hooks.observe?.("retained", async () => asLatents(await trainer.output("retained"), like(retained)));
    },
    save: async () => ({ used: [...((await attack.used.read()) as Float32Array)] }),
  };
}

async function readRows(tensor: Tensor): Promise<NDArray> {
  return { data: (await tensor.read()) as Float32Array<ArrayBuffer>, shape: [...tensor.type.shape] };
}

/**
 * A framed prompt without the k places behind the first L tokens, which embeddings before them take. With the published code's L, the
 * number of words, a prompt of more tokens than words loses some.
 */
function withoutPlaces(ids: Uint32Array<ArrayBuffer>, length: number, k: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from([...ids.slice(0, 1 + length), ...ids.slice(1 + length + k)]);
}
