import { UsageError } from "../../runtime/errors.ts";

/** Where the adversarial tokens go: the reference's prefix_k, suffix_k, mid_k, insert_k and per_k_words. */
export const INSERTIONS = ["prefix", "suffix", "middle", "interleave", "every-k"] as const;
export type Insertion = (typeof INSERTIONS)[number];

/** Where the tokens of an attacked prompt stand in its framed ids. */
export interface SlotLayout {
  /** Tokens of the original prompt. */
  readonly promptLength: number;
  /** Framed positions of the adversarial tokens, in their order; position 0 is bos. */
  readonly slots: readonly number[];
  /** Framed positions of the prompt's own tokens. */
  readonly prompt: readonly number[];
  /** Length of the framed ids. */
  readonly maxLength: number;
}

/** What a tokenizer frames ids with. */
export interface Framing {
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
}

/** Prompt tokens that stand before slot j. */
function precedingTokens(insert: Insertion, j: number, tokens: number, promptLength: number): number {
  switch (insert) {
    case "prefix":
      return 0;
    case "suffix":
      return promptLength;
    case "middle":
      return Math.floor(promptLength / 2);
    case "interleave": // a prompt of fewer than tokens + 1 has intervals of 0, which makes a prefix
      return Math.floor(promptLength / (tokens + 1)) * (j + 1);
    case "every-k": // the stride is 3 whatever the number of tokens
      return Math.min(3 * j, promptLength);
  }
}

/**
 * Positions of `tokens` adversarial tokens in a prompt of `promptLength` tokens. They take the place of the padding right after the prompt,
 * so that all else keeps its distance from the end. Source: `split_id` and `construct_id` of the reference attackers (Diffusion-MU-Attack,
 * text_grad_.py).
 * @throws UsageError where the reference raises: prompt and tokens do not fit behind bos, or "every-k" with a single token.
 */
export function slotLayout(insert: Insertion, tokens: number, promptLength: number, maxLength: number): SlotLayout {
  const room = maxLength - 1;
  if (promptLength + tokens > room) {
    throw new UsageError(
      `the prompt has ${promptLength} tokens and ${tokens} more are to be inserted, but only ${room} fit: use a shorter prompt or at ` +
        `most ${Math.max(0, room - promptLength)} adversarial tokens`,
    );
  }
  if (insert === "every-k" && tokens < 2) {
    throw new UsageError(`insertion "every-k" needs at least 2 adversarial tokens, got ${tokens}; for one token use "prefix"`);
  }
  const slots = Array.from({ length: tokens }, (_, j) => 1 + precedingTokens(insert, j, tokens, promptLength) + j);
  const taken = new Set(slots);
  const prompt = Array.from({ length: promptLength + tokens }, (_, i) => i + 1).filter((p) => !taken.has(p));
  return { promptLength, slots, prompt, maxLength };
}

/** Ids of the prompt with `chosen` in its slots, without frame and padding: what is decoded to make the text of an attacked prompt. */
export function insertTokens(layout: SlotLayout, promptIds: ArrayLike<number>, chosen: ArrayLike<number>): number[] {
  const ids = Array.from<number>({ length: layout.promptLength + layout.slots.length });
  layout.prompt.forEach((position, i) => (ids[position - 1] = promptIds[i]!));
  layout.slots.forEach((position, j) => (ids[position - 1] = chosen[j]!));
  return ids;
}

/** The same framed, u32 [maxLength]: bos, ids, eos, padding. A prompt that fills all places has no eos, as in the reference. */
export function framedIds(
  layout: SlotLayout,
  promptIds: ArrayLike<number>,
  chosen: ArrayLike<number>,
  { bosId, eosId, padId }: Framing,
): Uint32Array<ArrayBuffer> {
  const ids = insertTokens(layout, promptIds, chosen);
  const framed = new Uint32Array(layout.maxLength).fill(padId);
  framed[0] = bosId;
  framed.set(ids, 1);
  if (ids.length + 1 < layout.maxLength) framed[ids.length + 1] = eosId;
  return framed;
}
