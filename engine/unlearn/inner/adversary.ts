import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { NDArray } from "../../nn/array.ts";
import type { Tensor } from "../../runtime/tensor.ts";
import { CombinedPrediction, readLatents } from "../common/predict.ts";
import { compVisTime } from "../common/trajectory.ts";
import type { UnlearnSession } from "../training.ts";
import type { DrawnLatents } from "./drawn-latents.ts";
import { InnerAttack } from "./inner-attack.ts";
import { SearchAttack, isSearch } from "./search-attack.ts";

/** One of the concepts that take turns. */
export interface Word {
  readonly concept: string;
  /** Framed, u32 [T], and the same without the places that embeddings take, [T - k]. */
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly others: Uint32Array<ArrayBuffer>;
  /** Its encoding by the unchanged model, [1, T, D]. */
  readonly text: NDArray;
}

/** What the last attack left, as JSON. */
export interface SavedAdversary {
  /** The embeddings; none before the first attack that finds some. */
  readonly used?: readonly number[];
  readonly ids: readonly number[];
  readonly position?: number;
}

/**
 * Attacks the model as trained so far: by AdvUnlearn's own inner attack (pgd, fast), or by one of Lethe's searches.
 * It keeps what the last attack left.
 */
export class Adversary {
  private began: boolean;

  private constructor(
    private readonly session: UnlearnSession,
    private readonly latents: DrawnLatents,
    private readonly frozen: CombinedPrediction,
    private readonly inner: InnerAttack,
    private readonly search: SearchAttack | undefined,
    /** The ids that the concept's prediction is made with. */
    public ids: Uint32Array<ArrayBuffer>,
    /** Where among them an embedding stands, of cce. */
    public position: number | undefined,
    began: boolean,
  ) {
    this.began = began;
  }

  /** @param model the trained one @param latents of the concept, batch 1 @param saved goes on from there @throws as `Objective.for` */
  static async for(
    session: UnlearnSession,
    model: StableDiffusion,
    latents: DrawnLatents,
    first: Word,
    saved: SavedAdversary | undefined,
  ): Promise<Adversary> {
    const { base, settings: { attack: kind, attackTokens, attackLearningRate, latentSize, recipe } } = session;
    const [tokens, learningRate] = [attackTokens!, attackLearningRate!];
    const frozen = await CombinedPrediction.for(base, "advunlearn attack", latents.z, 1);
    const inner = new InnerAttack(model, latents.z, frozen.target, {
      tokens: kind === "cce" ? 1 : tokens, learningRate, kind: kind === "fast" ? "fast" : "pgd",
      published: recipe === "advunlearn-2024",
    });
    const search = isSearch(kind) ? await SearchAttack.for(model, { kind, tokens, learningRate, latentSize }) : undefined;
    if (saved?.used) inner.used.write(Float32Array.from(saved.used));
    const ids = saved?.ids ? Uint32Array.from(saved.ids) : first.ids;
    return new Adversary(session, latents, frozen, inner, search, ids, saved?.position, saved?.used !== undefined);
  }

  /** The embeddings that the last attack found, [k, D]. */
  get used(): Tensor {
    return this.inner.used;
  }

  /** Attacks the concept anew. */
  async attack(word: Word): Promise<void> {
    await (this.search ? this.runSearch(word, this.search) : this.runInner(word));
  }

  async save(): Promise<SavedAdversary> {
    const { ids, position, used, began } = this;
    return {
      ids: [...ids],
      ...(position !== undefined && { position }),
      ...((began || position !== undefined) && { used: [...((await used.read()) as Float32Array)] }),
    };
  }

  /** On a picture that the unchanged model draws. */
  private async runSearch(word: Word, search: SearchAttack): Promise<void> {
    const { session: { settings, draws, signal }, latents } = this;
    await latents.draw(0, [word.text], "attack.start");
    const found = await search.run(word.concept, await readLatents(latents.z), settings.attackSteps!, draws, signal);
    this.ids = found.ids;
    this.position = found.learned?.position;
    if (found.learned) this.used.write(found.learned.row);
  }

  private async runInner({ text, others }: Word): Promise<void> {
    const { session: { base, settings, draws, hooks, signal }, latents, frozen, inner } = this;
    const fresh = settings.attackInit === "random" || !this.began;
    const vocabulary = base.parts.textEncoder.config.vocabularySize;
    const start = (): number => draws.whole("attack.init_ids", 0, vocabulary);
    await inner.start(fresh ? Uint32Array.from({ length: settings.attackTokens! }, start) : undefined);
    this.began = true;
    await hooks.observe?.("attack.init", () => readRows(inner.rows));
    for (let i = 0; i < settings.attackSteps!; i++) {
      const { end, timestep } = compVisTime(draws, base, settings.samplingSteps!, "attack.");
      await latents.draw(end, [text], "attack.start");
      await hooks.observe?.("attack.z", () => readLatents(latents.z));
      await frozen.run(timestep, text.data, [1], signal);
      await inner.run(others, timestep, signal);
      await hooks.observe?.("attack.loss", () => inner.read("loss", others.length));
      await hooks.observe?.("attack.grad", () => inner.read("gradient", others.length));
      await hooks.observe?.("attack.grad_used", () => inner.read("followed", others.length));
      await hooks.observe?.("attack.adv", () => readRows(inner.rows));
    }
    await hooks.observe?.("attack.used", () => readRows(inner.used));
    this.ids = others;
  }
}

async function readRows(tensor: Tensor): Promise<NDArray> {
  return { data: (await tensor.read()) as Float32Array<ArrayBuffer>, shape: [...tensor.type.shape] };
}
