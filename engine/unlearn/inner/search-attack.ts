import { adamHyperparameters } from "../../../kernels/adam.ts";
import { freshSearch } from "../../attack/search/gradient-search.ts";
import { tokenRows } from "../../attack/search/nearest.ts";
import { Objective, type ObjectiveView } from "../../attack/search/objective.ts";
import { CONTINUOUS, SIMPLEX } from "../../attack/search/row-kinds.ts";
import { initialSimplex } from "../../attack/search/simplex.ts";
import { framedIds, slotLayout } from "../../attack/search/slot-layout.ts";
import { learnedPrompt } from "../../diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { NDArray } from "../../nn/array.ts";
import type { Draws } from "../common/draws.ts";

/** Lethe's own attackers that may stand inside a training. */
export type SearchKind = "text-grad" | "cce";

/** Whether an inner attack is one of them. */
export function isSearch(attack: string | null): attack is SearchKind {
  return attack === "text-grad" || attack === "cce";
}

export interface SearchAttackOptions {
  readonly kind: SearchKind;
  /** Of text-grad, before the prompt's own. */
  readonly tokens: number;
  readonly learningRate: number;
  readonly latentSize: readonly [number, number];
}

/** What a search found: a prompt's framed ids, and of cce the embedding that stands in one of their places. */
export interface Found {
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly learned?: { readonly row: Float32Array<ArrayBuffer>; readonly position: number };
}

/** Numbers that text-grad draws tokens by are multiples of this. */
const GRAIN = 2 ** -24;

/**
 * A search of Lethe's own attackers against the model as trained so far, by the very program that attacks it afterwards: text-grad's tokens
 * in front of the prompt (UnlearnDiffAtk, arXiv 2310.11868), or cce's embedding in the place of the prompt (arXiv 2308.01508).
 * It looks at a picture that the unchanged model drew, at a random timestep each iteration, and always begins anew.
 */
export class SearchAttack {
  private constructor(
    private readonly model: StableDiffusion,
    private readonly options: SearchAttackOptions,
    private readonly objective: Objective,
  ) {}

  /** @param model the trained one @throws as `Objective.for` */
  static async for(model: StableDiffusion, options: SearchAttackOptions): Promise<SearchAttack> {
    const { kind, tokens, latentSize: [height, width] } = options;
    const objective = await Objective.for(model, {
      tokens: kind === "cce" ? 1 : tokens, length: model.tokenizer.maxLength, height, width, loss: "mse", projection: "exact",
      rows: kind === "cce" ? CONTINUOUS : SIMPLEX,
    });
    return new SearchAttack(model, options, objective);
  }

  /**
   * @param latents of the picture, [1, C, h, w] @param iterations of the search
   * @throws UsageError where tokens and prompt do not fit; AbortError
   */
  async run(prompt: string, latents: NDArray, iterations: number, draws: Draws, signal?: AbortSignal): Promise<Found> {
    const { model, objective, options: { kind, tokens, learningRate } } = this;
    const own = model.tokenizer.tokenize(prompt);
    const place = this.placeOf(own);
    const rows = kind === "cce" ? await tokenRows(model, [own.at(-1)!]) : initialSimplex(tokens, model.text.vocabularySize);
    objective.start({ ...place, latents, ...freshSearch(rows) });
    for (let i = 1; i <= iterations; i++) {
      const uniform = (): number => draws.whole("attack.token", 0, 1 / GRAIN) * GRAIN;
      const chosen = kind === "cce" ? undefined : Float32Array.from({ length: tokens }, uniform);
      await objective.step({
        timestep: draws.whole("attack.t", 0, model.alphasCumprod.length),
        noise: draws.normal("attack.noise", latents.shape),
        hyperparameters: adamHyperparameters({ lr: learningRate }, i),
        ...(chosen && { draws: chosen }),
      }, signal);
    }
    if (kind === "cce") {
      return { ids: place.ids, learned: { row: (await objective.readState()).simplex, position: place.slots[0]! } };
    }
    const found = await objective.tokens();
    const ids = place.ids.slice();
    place.slots.forEach((position, j) => (ids[position] = found[j]!));
    return { ids };
  }

  private placeOf(own: readonly number[]): Omit<ObjectiveView, "latents"> {
    const { model, options: { kind, tokens } } = this;
    if (kind === "cce") {
      const word = "<found>";
      const { ids, positions } = learnedPrompt(model, word, [{ name: word, rows: new Float32Array(model.text.tokenWidth) }]);
      return { ids, slots: positions };
    }
    const { tokenizer } = model;
    const layout = slotLayout("prefix", tokens, own.length, tokenizer.maxLength);
    return { ids: framedIds(layout, own, layout.slots.map(() => tokenizer.eosId), tokenizer), slots: layout.slots };
  }
}
