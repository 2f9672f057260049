import { categorical } from "../../../kernels/categorical.ts";
import { clamp } from "../../../kernels/clamp.ts";
import { add, multiply } from "../../../kernels/elementwise.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import { type Projection, simplexProjection } from "../../../kernels/simplex-projection.ts";
import { scatterIds } from "../../../kernels/slots.ts";
import { recordLearned } from "../../diffusion/learned-embedding.ts";
import type { TextModel } from "../../diffusion/model/text-model.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { Graph } from "../../runtime/graph.ts";
import type { Tensor } from "../../runtime/tensor.ts";
import { InverseNorms, nearestTokens } from "./nearest.ts";
import { type SlotToken, likeliest } from "./simplex.ts";
import { repeatForViews } from "./timestep-views.ts";
import { type MaskValues, TokenMask, type Vocabulary } from "./vocabulary.ts";

/** What a kind of row records its part of an iteration with. */
export interface Recording {
  readonly g: Graph;
  readonly model: StableDiffusion;
  /** f32 [restarts * tokens, width]. */
  readonly rows: Value;
  /** Framed prompts, u32 [views * restarts, length]. */
  readonly ids: Value;
  /** Flat positions of their slots in `ids`, u32 [views * restarts * tokens]. */
  readonly slots: Value;
  readonly views: number;
  /** Of the kind's own `prepare`. */
  readonly prepared?: Value;
  /** Absent where every token may be chosen. */
  readonly mask?: MaskValues;
}

/** What stands in the prompts of an iteration. */
export interface Chosen {
  /** Of all tokens, f32 [views * restarts, length, tokenWidth]. */
  readonly embeddings: Value;
  /** The prompts with what was chosen in their slots, u32 [views * restarts, length]. */
  readonly ids: Value;
  /** The tokens taken for the slots, u32 [restarts * tokens]; none where the rows themselves stand in the prompt. */
  readonly choice?: Value;
}

/** Whose rows are read. */
export interface ReadOf {
  /** Of the search's program. */
  readonly key: string;
  readonly vocabulary: Vocabulary;
}

/** What is searched for each slot of a prompt: how a row becomes what stands there, how it is moved, and which tokens it stands for. */
export interface RowKind {
  /** Tells kinds apart where programs are kept. */
  readonly name: string;
  /** Numbers of one row. */
  readonly width: (text: TextModel) => number;
  /** What `choose` needs besides the rows, made once for a model and a number of rows. Such a search cannot be estimated. */
  readonly prepare?: (model: StableDiffusion, rows: number) => Promise<Tensor>;
  readonly choose: (recording: Recording) => Chosen;
  /** The rows' gradient, from that of the slots' embeddings, f32 [restarts * tokens, tokenWidth]. */
  readonly gradient: (recording: Recording, ofSlots: Value) => Value;
  /** Rows as Adam has moved them, brought back to where they may be. */
  readonly project: (recording: Recording, moved: Value, projection: Projection) => Value;
  /**
   * What each row may come to hold, after all that is queued: up to `count` tokens, the likeliest first.
   * @param of the search's program and vocabulary @throws Error for rows that stand for no token
   */
  readonly read: (model: StableDiffusion, rows: Tensor, count: number, of: ReadOf) => Promise<SlotToken[][]>;
}

/** The embeddings of prompts with these tokens in their slots. */
export function embedTokens({ g, model, ids, slots }: Recording, choice: Value): Chosen {
  const chosen = scatterIds(g, ids, choice, slots);
  return { embeddings: model.recordEmbeddings(g, chosen), ids: chosen, choice };
}

/**
 * Probabilities of all tokens, f32 [.., vocabulary], from which a token is drawn (UnlearnDiffAtk, arXiv 2310.11868; Diffusion-MU-Attack,
 * text_grad_.py).
 * The gradient goes straight through the draw to the one-hot rows and is clamped to [-1, 1] (the reference's `StraightThroughEstimator`,
 * hardtanh). A one-hot row stands for a row of each token table, so of SDXL's two encoders it is the sum through both.
 */
export const SIMPLEX: RowKind = {
  name: "simplex",
  width: ({ vocabularySize }) => vocabularySize,
  choose: (r) =>
    embedTokens(
      r,
      categorical(r.g, r.mask ? multiply(r.g, r.rows, r.mask.allowed) : r.rows, r.g.input("draws", f32([r.rows.type.shape[0]!]))),
    ),
  gradient({ g, model, mask }, ofSlots) {
    const clamped = clamp(g, model.text.timesTable(g, ofSlots));
    return mask ? multiply(g, clamped, mask.allowed) : clamped;
  },
  project: ({ g, mask }, moved, projection) => simplexProjection(g, mask ? add(g, moved, mask.barred) : moved, projection),
  read: async (model, rows, count) => likeliest((await rows.read()) as Float32Array, model.text.vocabularySize, count),
};

/**
 * A continuous embedding, f32 [.., tokenWidth], of which the nearest token is taken; the gradient there moves the embedding (arXiv
 * 2302.03668; hard_prompt_.py).
 */
export const NEAREST: RowKind = {
  name: "nearest",
  width: ({ tokenWidth }) => tokenWidth,
  prepare: (model, rows) => InverseNorms.for(model, rows),
  choose: (r) => embedTokens(r, nearestTokens(r.g, r.model, r.rows, r.prepared!, r.mask?.barred)),
  gradient: (_, ofSlots) => ofSlots,
  project: (_, moved) => moved,
  async read(model, rows, _count, { key, vocabulary }) {
    const norms = await InverseNorms.for(model, rows.type.shape[0]!);
    const mask = TokenMask.for(model, rows.type.shape[0]!, vocabulary);
    const program = await model.program(`nearest tokens ${key}`, (g) => ({
      outputs: {
        tokens: nearestTokens(g, model, g.tensor(rows), g.tensor(norms), mask?.recorded(g).barred),
      },
    }));
    const { tokens } = await program.compute({});
    return [...tokens!].map((id) => [{ id, share: 1 }]);
  },
};

/**
 * An embedding, f32 [.., tokenWidth], that itself stands in the prompt, where the ids in its slots must be outside the vocabulary (textual
 * inversion, arXiv 2208.01618).
 */
export const CONTINUOUS: RowKind = {
  name: "continuous",
  width: ({ tokenWidth }) => tokenWidth,
  choose: ({ g, model, rows, ids, slots, views }) => ({
    ids,
    embeddings: recordLearned(g, model, { ids, rows: repeatForViews(g, rows, views), positions: slots }),
  }),
  gradient: (_, ofSlots) => ofSlots,
  project: (_, moved) => moved,
  read: () => Promise.reject(new Error("continuous rows stand for themselves, not for tokens")),
};
