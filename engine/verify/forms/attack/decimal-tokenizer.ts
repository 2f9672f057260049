import type { Tokenizer } from "../../../../tokenizer/index.ts";
import { InputError } from "../../../runtime/errors.ts";

/** What frames a prompt of a trace; eos is padding too. */
export interface Frame {
  readonly bosId: number;
  readonly eosId: number;
  /** Ids of a framed prompt. */
  readonly length: number;
}

/**
 * The traces' stand-in tokenizer: prompts are decimal token ids, with spaces between them, or "+" within a word. Its `tokenize` throws
 * InputError for anything else.
 */
export function decimalTokenizer({ bosId, eosId, length }: Frame, vocabularySize: number): Tokenizer {
  const tokenize = (text: string): number[] =>
    text.split(/[ +]/).filter((word) => word !== "").map((word) => {
      if (!/^\d+$/.test(word)) throw new InputError(`prompt ${JSON.stringify(text)}: "${word}" is not a decimal token id`);
      return Number(word);
    });
  const frame = (ids: ArrayLike<number>): Int32Array => {
    const framed = new Int32Array(length).fill(eosId);
    framed[0] = bosId;
    framed.set(Array.from(ids).slice(0, length - 2), 1);
    return framed;
  };
  const pieces = (ids: ArrayLike<number>): string[] => Array.from(ids, String);
  const encodeFully: Tokenizer["encodeFully"] = (text) => {
    const ids = tokenize(text);
    return { ids: frame(ids), tokenCount: ids.length, dropped: ids.slice(length - 2) };
  };
  return {
    tokenize, frame, pieces, encodeFully, vocabularySize, bosId, eosId,
    tokenizeAs: tokenize,
    vocabulary: () => Array.from({ length: vocabularySize }, (_, id) => [id, String(id)] as const),
    encode: (text) => frame(tokenize(text)),
    decode: (ids) => pieces(ids).join(" "),
    maxLength: length,
    padId: eosId,
  };
}
