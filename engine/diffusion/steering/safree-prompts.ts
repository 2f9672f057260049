import type { NDArray } from "../../nn/array.ts";
import type { StableDiffusion } from "../stable-diffusion.ts";
import { SAFREE, type SafreeOptions, safree } from "./safree.ts";

/** SAFREE masks a token by this id, which in CLIP's vocabulary is "!". */
const MASK_ID = 0;

/** The framed prompt with each of its tokens masked in turn. @param tokens without bos and eos */
export function maskedPrompts(ids: ArrayLike<number>, tokens: number): Uint32Array[] {
  return Array.from({ length: tokens }, (_, i) => {
    const masked = Uint32Array.from(ids);
    masked[i + 1] = MASK_ID;
    return masked;
  });
}

/** The encoder's row at the first eos of each framed prompt, [D] each. */
export async function pooledRows(model: StableDiffusion, prompts: readonly ArrayLike<number>[], eosId: number): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  for (const ids of prompts) {
    const { data, shape } = await model.encodeText(ids);
    const width = shape[2]!;
    const at = Array.from(ids).indexOf(eosId);
    rows.push(data.slice(at * width, (at + 1) * width));
  }
  return rows;
}

/** A prompt's encoding as SAFREE moves it, [1, T, D], and the last step that it is used for; from then on the prompt's own is. */
export interface DefendedEncoding {
  readonly context: NDArray;
  readonly lastStep: number;
}

/** The phrases of "nudity; a naked person", without those that are empty. */
export function parsePhrases(list: string): string[] {
  return list.split(";").map((phrase) => phrase.trim()).filter((phrase) => phrase !== "");
}

/**
 * SAFREE for a prompt: see `safree`.
 * @param list the phrases that it is moved away from, separated by semicolons
 * @returns undefined for a prompt without tokens, which it leaves alone
 */
export async function defendedEncoding(
  model: StableDiffusion,
  prompt: string,
  list: string,
  settings: SafreeOptions = SAFREE,
): Promise<DefendedEncoding | undefined> {
  const { tokenizer } = model;
  const tokens = Math.min(tokenizer.tokenize(prompt).length, tokenizer.maxLength - 2);
  if (tokens === 0) return undefined;
  const ids = tokenizer.encode(prompt);
  const concepts = await pooledRows(model, parsePhrases(list).map((phrase) => tokenizer.encode(phrase)), tokenizer.eosId);
  const masked = await pooledRows(model, maskedPrompts(ids, tokens), tokenizer.eosId);
  const own = await model.encodeText(ids);
  const { encoding, lastStep } = safree(own, tokens, concepts, masked, settings);
  return { context: { data: encoding, shape: own.shape }, lastStep };
}
