import { add, scale } from "../../kernels/elementwise.ts";
import { concat } from "../../kernels/concat.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { slice } from "../../kernels/slice.ts";
import { roundHalfEven } from "../diffusion/schedulers/spacing.ts";
import { recordLearned } from "../diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { NDArray } from "../nn/array.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { Graph } from "../runtime/graph.ts";
import type { RecordedLoss } from "../train/update.ts";
import { InnerAttack, withEmbeddings } from "./inner/inner-attack.ts";
import { SearchAttack, isSearch } from "./inner/search-attack.ts";
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
  const every = settings.attackEvery!;
  const [steps, n, k, retained] = [samplingSteps!, settings.negativeGuidance!, attackTokens!, settings.retainBatch!];
  const published = settings.recipe === "advunlearn-2024";
  const separate = settings.retainMode === "iter";
  if (retain.length === 0) throw new UsageError("advunlearn needs retained prompts: give --retain");
  const tokens = base.tokenizer.maxLength;
  const words: Word[] = [];
  for (const concept of concepts) {
    const ids = idsOf(base, [concept]);
    const length = published ? concept.split(" ").length : contentTokens(base.tokenizer, concept).length;
    words.push({ concept, ids, text: await encodePrompt(base, concept), others: withoutPlaces(ids, length, k) });
  }
  const empty = await encodePrompt(base, "");

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
  const { attack: attackKind, attackLearningRate: learningRate } = settings;
  const attack = new InnerAttack(model, z, attacked.target, {
    tokens: attackKind === "cce" ? 1 : k, learningRate: learningRate!, kind: attackKind === "fast" ? "fast" : "pgd", published,
  });
  const search = isSearch(attackKind)
    ? await SearchAttack.for(model, { kind: attackKind, tokens: k, learningRate: learningRate!, latentSize: settings.latentSize })
    : undefined;
  const saved = (resume?.json as { method?: SavedAttack } | undefined)?.method;
  if (saved?.used) attack.used.write(Float32Array.from(saved.used));

  function recordLoss(g: Graph, trained: StableDiffusion, loss: string): RecordedLoss {
    const features = (rows: number): Value => g.input("features", f32([rows, trained.featureWidth]));
    const ids = (length: number): Value => g.input("ids", { shape: [1, length], dtype: "u32" });
    const embeddings = (): Value => {
      if (loss === "plain") return trained.recordEmbeddings(g, ids(tokens));
      if (loss === "adversarial") return withEmbeddings(g, trained, ids(tokens - k), g.tensor(attack.used));
      const positions = g.input("positions", { shape: [1], dtype: "u32" });
      return recordLearned(g, trained, { ids: ids(tokens), rows: g.tensor(attack.used), positions });
    };
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
  let word = words[saved?.word ?? 0]!;
  const trajectory = async (end: number, prefix: string): Promise<void> => {
    await own.run(compVisPlan(base, steps, end), [word.text], empty, { data: draws.normal(`${prefix}start`, shape), shape });
    own.sampler.sample.copyTo(z);
  };

  /** An attack by one of Lethe's own searches, on a picture that the unchanged model draws. */
  const runSearch = async (attacker: SearchAttack): Promise<void> => {
    await trajectory(0, "attack.");
    const found = await attacker.run(word.concept, await readLatents(z), attackSteps!, draws, signal);
    ids = found.ids;
    position = found.learned?.position;
    if (found.learned) attack.used.write(found.learned.row);
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
      await attacked.run(timestep, word.text.data, [1], signal);
      await attack.run(word.others, timestep, signal);
      await hooks.observe?.("attack.loss", () => attack.read("loss", word.others.length));
      await hooks.observe?.("attack.grad", () => attack.read("gradient", word.others.length));
      await hooks.observe?.("attack.grad_used", () => attack.read("followed", word.others.length));
      await hooks.observe?.("attack.adv", () => readRows(attack.rows));
    }
    await hooks.observe?.("attack.used", () => readRows(attack.used));
    ids = word.others;
  };
  const vocabulary = base.parts.textEncoder.config.vocabularySize;
  let attackBegan = saved?.used !== undefined;
  /** What the last attack left: the ids that the concept's prediction is made with, and where among them an embedding stands. */
  let ids = saved?.ids ? Uint32Array.from(saved.ids) : words[0]!.ids;
  let position = saved?.position;

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
      if (index % every === 0) {
        if (words.length > 1) word = words[draws.whole("word", 0, words.length)]!;
        if (adversarial) await (search ? runSearch(search) : runAttack());
        else ids = word.ids;
      }
      const { end, timestep } = drawTime("");
      await trajectory(end, "");
      await hooks.observe?.("z", () => readLatents(z));
      await frozen.run(timestep, stacked([empty, word.text]).data, [1 + n, -n], signal);
      await hooks.observe?.("eps_0", () => frozen.read(0));
      await hooks.observe?.("eps_p", () => frozen.read(1));
      await hooks.observe?.("target", () => readLatents(frozen.target));
      const kind = ids.length < tokens ? "adversarial" : position === undefined ? "plain" : "learned";
      const concept = { ids, ...(position !== undefined && { positions: Uint32Array.of(position) }) };
      const features = (rows: number, t: number): Float32Array<ArrayBuffer> => model.timestepFeatures(new Array<number>(rows).fill(t));
      if (!separate) {
        const retainIds = await retainedBatch(end, timestep);
        await started.update(index, { ...concept, retainIds, features: features(1 + retained, timestep) }, kind);
      } else {
        await started.update(index, { ...concept, features: features(1, timestep) }, kind);
      }
      await hooks.observe?.("prediction", async () => asLatents(await trainer.output("prediction"), like(1)));
      if (separate) {
        const time = drawTime("retain_");
        const retainIds = await retainedBatch(time.end, time.timestep);
        await started.update(index, { retainIds, features: features(retained, time.timestep) }, "retain");
      }
      await hooks.observe?.("retained", async () => asLatents(await trainer.output("retained"), like(retained)));
    },
    save: async (): Promise<SavedAttack> => ({
      ids: [...ids], word: words.indexOf(word),
      ...(position !== undefined && { position }),
      ...((attackBegan || position !== undefined) && { used: [...((await attack.used.read()) as Float32Array)] }),
    }),
  };
}

/** One of the concepts that take turns. */
interface Word {
  readonly concept: string;
  /** Framed, u32 [T], and the same without the places that embeddings take, [T - k]. */
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly others: Uint32Array<ArrayBuffer>;
  /** Its encoding by the unchanged model. */
  readonly text: NDArray;
}

/** What the last attack left. */
interface SavedAttack {
  /** The embeddings; none before the first attack that finds some. */
  readonly used?: readonly number[];
  readonly ids: readonly number[];
  readonly position?: number;
  readonly word: number;
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
