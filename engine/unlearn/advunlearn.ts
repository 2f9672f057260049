import { add, scale } from "../../kernels/elementwise.ts";
import { concat } from "../../kernels/concat.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { slice } from "../../kernels/slice.ts";
import { recordLearned } from "../diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { type NDArray, stackRows } from "../nn/array.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Graph } from "../runtime/graph.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { RecordedLoss } from "../train/update.ts";
import { Adversary, type SavedAdversary, type Word } from "./inner/adversary.ts";
import { DrawnLatents } from "./inner/drawn-latents.ts";
import { withEmbeddings } from "./inner/inner-attack.ts";
import type { Settings } from "./options.ts";
import { idsOf } from "./common/noising.ts";
import { CombinedPrediction, asLatents, readLatents } from "./common/predict.ts";
import { startTraining } from "./common/start.ts";
import { compVisTime } from "./common/trajectory.ts";
import type { Training, UnlearnSession } from "./training.ts";

/**
 * AdvUnlearn (Zhang et al., arXiv 2405.15234; AdvUnlearn.py): the text encoder is trained as ESD trains the UNet, on the concept's prompt
 * with embeddings that an inner attack has found against it, while retained prompts keep their predictions.
 * The UNet never changes, and every trajectory uses the original text encoder.
 */
export async function startAdvUnlearn(session: UnlearnSession): Promise<Training> {
  const { base, settings, draws, hooks, signal, resume } = session;
  if (settings.retain.length === 0) throw new UsageError("advunlearn needs retained prompts: give --retain");
  const [steps, n] = [settings.samplingSteps!, settings.negativeGuidance!];
  const [every, retained] = [settings.attackEvery!, settings.retainBatch!];
  const separate = settings.retainMode === "iter";
  const words = await wordsOf(session);
  const empty = await base.encodePrompt("");
  const latents = new DrawnLatents(session, empty, "latents", 1);
  const frozen = await CombinedPrediction.for(base, "advunlearn", latents.z, 2);
  const kept = await RetainedPrompts.for(session, empty);
  const started = await startTraining(session, (g, trained, loss) => {
    const parts = { z: latents.z, target: frozen.target, retainedZ: kept.latents.z, retainedTarget: kept.target, used: adversary.used };
    return recordLoss(g, trained, settings, loss, parts);
  });
  const { model, trainer } = started;
  const saved = (resume?.json as { method?: SavedAdversary & { readonly word: number } } | undefined)?.method;
  const adversary = await Adversary.for(session, model, latents, words[0]!, saved);
  let word = words[saved?.word ?? 0]!;
  const features = (rows: number, t: number): Float32Array<ArrayBuffer> => model.timestepFeatures(new Array<number>(rows).fill(t));

  return {
    ...started,
    losses: ["unlearn", "retain"],
    async step(index) {
      if (index % every === 0) {
        if (words.length > 1) word = words[draws.whole("word", 0, words.length)]!;
        if (index >= settings.attackWarmup!) await adversary.attack(word);
        else adversary.ids = word.ids;
      }
      const { end, timestep } = compVisTime(draws, base, steps);
      await latents.draw(end, [word.text], "start");
      await hooks.observe?.("z", () => readLatents(latents.z));
      await frozen.run(timestep, stackRows([empty, word.text]).data, [1 + n, -n], signal);
      await hooks.observe?.("eps_0", () => frozen.read(0));
      await hooks.observe?.("eps_p", () => frozen.read(1));
      await hooks.observe?.("target", () => readLatents(frozen.target));
      const { ids, position } = adversary;
      const kind = ids.length < base.tokenizer.maxLength ? "adversarial" : position === undefined ? "plain" : "learned";
      const concept = { ids, ...(position !== undefined && { positions: Uint32Array.of(position) }) };
      if (!separate) {
        const retainIds = await kept.draw(end, timestep);
        await started.update(index, { ...concept, retainIds, features: features(1 + retained, timestep) }, kind);
      } else {
        await started.update(index, { ...concept, features: features(1, timestep) }, kind);
      }
      await hooks.observe?.("prediction", async () => asLatents(await trainer.output("prediction"), frozen.target));
      if (separate) {
        const time = compVisTime(draws, base, steps, "retain_");
        const retainIds = await kept.draw(time.end, time.timestep);
        await started.update(index, { retainIds, features: features(retained, time.timestep) }, "retain");
      }
      await hooks.observe?.("retained", async () => asLatents(await trainer.output("retained"), kept.target));
    },
    save: async () => ({ ...(await adversary.save()), word: words.indexOf(word) }),
  };
}

/** The concepts. The published code counts words where tokens are meant. */
async function wordsOf({ base, settings: { concepts, attackTokens, recipe } }: UnlearnSession): Promise<Word[]> {
  const words: Word[] = [];
  for (const concept of concepts) {
    const ids = idsOf(base, [concept]);
    const length = recipe === "advunlearn-2024" ? concept.split(" ").length : base.tokenizer.tokenize(concept).length;
    words.push({ concept, ids, text: await base.encodePrompt(concept), others: withoutPlaces(ids, length, attackTokens!) });
  }
  return words;
}

/**
 * A framed prompt without the k places behind the first L tokens, which embeddings before them take. With the published code's L, the
 * number of words, a prompt of more tokens than words loses some.
 */
function withoutPlaces(ids: Uint32Array<ArrayBuffer>, length: number, k: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from([...ids.slice(0, 1 + length), ...ids.slice(1 + length + k)]);
}

/** Latents of retained prompts and the unchanged model's predictions for them. */
class RetainedPrompts {
  private constructor(
    private readonly session: UnlearnSession,
    readonly latents: DrawnLatents,
    private readonly frozen: CombinedPrediction,
  ) {}

  static async for(session: UnlearnSession, empty: NDArray): Promise<RetainedPrompts> {
    const latents = new DrawnLatents(session, empty, "retained latents", session.settings.retainBatch!);
    return new RetainedPrompts(session, latents, await CombinedPrediction.for(session.base, "advunlearn retain", latents.z, 1));
  }

  get target(): Tensor {
    return this.frozen.target;
  }

  /** Draws prompts and what belongs to them. @returns their framed ids, u32 [B * T] */
  async draw(end: number, timestep: number): Promise<Uint32Array<ArrayBuffer>> {
    const { session: { base, settings: { retain, retainBatch }, draws, hooks, signal }, latents, frozen } = this;
    const prompts = Array.from({ length: retainBatch! }, () => retain[draws.whole("retain_index", 0, retain.length)]!);
    const texts: NDArray[] = [];
    for (const prompt of prompts) texts.push(await base.encodePrompt(prompt));
    await latents.draw(end, texts, "retain_start");
    await hooks.observe?.("retain_z", () => readLatents(latents.z));
    await frozen.run(timestep, stackRows(texts).data, [1], signal);
    await hooks.observe?.("retain_eps_p", () => frozen.read(0));
    return idsOf(base, prompts);
  }
}

/** The tensors that the losses read. */
interface LossParts {
  readonly z: Tensor;
  readonly target: Tensor;
  readonly retainedZ: Tensor;
  readonly retainedTarget: Tensor;
  /** The attack's embeddings, [k, D]. */
  readonly used: Tensor;
}

/**
 * @param kind "retain": of retained prompts alone; else of the concept, whose prompt is "plain", has embeddings in front ("adversarial") or
 * one in the place of a token ("learned"), with the retained prompts in the same batch unless they have steps of their own
 */
function recordLoss(
  g: Graph,
  trained: StableDiffusion,
  { attackTokens, retainBatch, retainMode, retainWeight }: Settings,
  kind: string,
  parts: LossParts,
): RecordedLoss {
  const [retained, tokens] = [retainBatch!, trained.tokenizer.maxLength];
  const predict = (rows: number, latents: Value, embeddings: Value): { prediction: Value; rescaleAt: readonly Value[] } => {
    const context = trained.recordTextEncoder(g, embeddings);
    const prediction = trained.recordUNet(g, latents, g.input("features", f32([rows, trained.featureWidth])), context);
    return { prediction, rescaleAt: trained.rescaleAt(prediction, context) };
  };
  const ids = (length: number): Value => g.input("ids", { shape: [1, length], dtype: "u32" });
  const embeddings = (): Value => {
    if (kind === "plain") return trained.recordEmbeddings(g, ids(tokens));
    if (kind === "adversarial") return withEmbeddings(g, trained, ids(tokens - attackTokens!), g.tensor(parts.used));
    const positions = g.input("positions", { shape: [1], dtype: "u32" });
    return recordLearned(g, trained, { ids: ids(tokens), rows: g.tensor(parts.used), positions });
  };
  const keptEmbeddings = (): Value => trained.recordEmbeddings(g, g.input("retainIds", { shape: [retained, tokens], dtype: "u32" }));
  if (kind === "retain") {
    const { prediction, rescaleAt } = predict(retained, g.tensor(parts.retainedZ), keptEmbeddings());
    return { loss: mseLoss(g, prediction, g.tensor(parts.retainedTarget)), rescaleAt, outputs: { retained: prediction } };
  }
  if (retainMode === "iter") {
    const { prediction, rescaleAt } = predict(1, g.tensor(parts.z), embeddings());
    return { loss: mseLoss(g, prediction, g.tensor(parts.target)), rescaleAt, outputs: { prediction } };
  }
  const latents = concat(g, g.tensor(parts.z), g.tensor(parts.retainedZ), 0);
  const { prediction: both, rescaleAt } = predict(1 + retained, latents, concat(g, embeddings(), keptEmbeddings(), 0));
  const [prediction, retainedPrediction] = [slice(g, both, 0, 1, 0), slice(g, both, 1, retained, 0)];
  const unlearnLoss = mseLoss(g, prediction, g.tensor(parts.target));
  const retainLoss = mseLoss(g, retainedPrediction, g.tensor(parts.retainedTarget));
  return {
    loss: add(g, unlearnLoss, scale(g, retainLoss, retainWeight!)),
    kept: [unlearnLoss, retainLoss],
    rescaleAt,
    outputs: { prediction, retained: retainedPrediction },
  };
}
