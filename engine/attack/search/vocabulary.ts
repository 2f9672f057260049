/** Which tokens a search may choose. */
import { type Value, f32 } from "../../../kernels/kernel.ts";
import type { Tokenizer } from "../../../tokenizer/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { Graph } from "../../runtime/graph.ts";
import type { Generator } from "../../runtime/random/random.ts";
import { Tensor } from "../../runtime/tensor.ts";

/**
 * "all": every token, as the reference has it. "typeable": whole words and signs of printable ASCII that tokenize to themselves, so that
 * the prompt found can be typed, pasted
 * into a terminal, a CSV, a JSON or a web form, and is read alike by every tokenizer of CLIP. "words": those of them that are two letters
 * or more.
 */
export const VOCABULARIES = ["all", "typeable", "words"] as const;
export type Vocabulary = (typeof VOCABULARIES)[number];

/** The vocabulary's own form of a whole word or sign of printable ASCII, and of a word of letters. */
const FORMS = { typeable: /^[\x21-\x7e]+<\/w>$/, words: /^[a-z]{2,}<\/w>$/ } as const;

const known = new WeakMap<Tokenizer, Map<Vocabulary, Int32Array<ArrayBuffer>>>();

/** Ids of the tokens that may be chosen, ascending; undefined for "all". Worked out once for a tokenizer. */
export function allowedTokens(tokenizer: Tokenizer, vocabulary: Vocabulary): Int32Array<ArrayBuffer> | undefined {
  if (vocabulary === "all") return undefined;
  const lists = known.get(tokenizer) ?? new Map<Vocabulary, Int32Array<ArrayBuffer>>();
  known.set(tokenizer, lists);
  let list = lists.get(vocabulary);
  if (!list) lists.set(vocabulary, (list = Int32Array.from(chosen(tokenizer, FORMS[vocabulary]))));
  return list;
}

function* chosen(tokenizer: Tokenizer, form: RegExp): Iterable<number> {
  const { bosId, eosId, padId } = tokenizer;
  for (const [id, piece] of tokenizer.vocabulary()) {
    if (id === bosId || id === eosId || id === padId || !form.test(piece)) continue;
    const back = tokenizer.tokenize(tokenizer.decode([id]));
    if (back.length === 1 && back[0] === id) yield id;
  }
}

/**
 * Random ids of tokens that may be chosen, evenly. For "all" these are the generator's draws below the vocabulary's size, as the reference
 * takes them.
 */
export function randomTokenIds(tokenizer: Tokenizer, vocabulary: Vocabulary, random: Generator, count: number): number[] {
  const allowed = allowedTokens(tokenizer, vocabulary);
  return Array.from(random.randint(allowed?.length ?? tokenizer.vocabularySize, count), (i) => allowed?.[i] ?? i);
}

/**
 * What is added to a barred token: far below what a projection or the nearest token could reach, and near enough for the reference's
 * bisection to start from.
 */
const BARRED = -1e6;

/** A mask as a program takes it. */
export interface MaskValues {
  readonly allowed: Value;
  readonly barred: Value;
}

/** Which tokens may be chosen, on the device: f32 [rows, vocabulary] each. */
export class TokenMask {
  /** 1 for a token that may be chosen, 0 for one that is barred. */
  readonly allowed: Tensor;
  /** 0 and BARRED. */
  readonly barred: Tensor;

  constructor({ device, text, tokenizer }: StableDiffusion, rows: number, vocabulary: Exclude<Vocabulary, "all">) {
    const { vocabularySize } = text;
    const [ones, bars] = [new Float32Array(rows * vocabularySize), new Float32Array(rows * vocabularySize).fill(BARRED)];
    for (const id of allowedTokens(tokenizer, vocabulary)!) {
      for (let row = 0; row < rows; row++) {
        ones[row * vocabularySize + id] = 1;
        bars[row * vocabularySize + id] = 0;
      }
    }
    this.allowed = new Tensor(device, "attack.allowed", f32([rows, vocabularySize]));
    this.barred = new Tensor(device, "attack.barred", f32([rows, vocabularySize]));
    this.allowed.write(ones);
    this.barred.write(bars);
  }

  /** That of a model, a number of rows and a vocabulary, made once; undefined for "all". */
  static for(model: StableDiffusion, rows: number, vocabulary: Vocabulary = "all"): TokenMask | undefined {
    return vocabulary === "all" ? undefined : model.keep(`attack.mask ${rows} ${vocabulary}`, () => new TokenMask(model, rows, vocabulary));
  }

  recorded(g: Graph): MaskValues {
    return { allowed: g.tensor(this.allowed), barred: g.tensor(this.barred) };
  }

  destroy(): void {
    this.allowed.destroy();
    this.barred.destroy();
  }
}
