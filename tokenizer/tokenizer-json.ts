// Reads tokenizer.json, the one file that transformers 5 saves of a tokenizer: its vocabulary, merges and added tokens.
import { END_OF_WORD } from "./bpe.ts";
import { TokenizerError } from "./errors.ts";
import { type JsonSource, readJsonObject } from "./vocabulary.ts";

const FILE = "tokenizer.json";

/** What the other files of a tokenizer would say. */
export interface TokenizerJson {
  readonly vocabulary: Readonly<Record<string, unknown>>;
  /** As the text of a merges.txt. */
  readonly merges: string;
  /** `added_tokens`: objects with an id and an AddedToken's fields. */
  readonly added: readonly unknown[];
}

/**
 * Source: github.com/huggingface/tokenizers, the serialization of `Tokenizer` with a `BPE` model; merges are pairs, or texts "left right"
 * before its release 0.20.
 * @throws TokenizerError for another kind of model than CLIP's byte-level BPE with ends of words, or fields that are malformed
 */
export function readTokenizerJson(source: JsonSource): TokenizerJson {
  const json = readJsonObject(source, FILE);
  const model = readJsonObject(json["model"], `${FILE} "model"`);
  const { type = "BPE", end_of_word_suffix: suffix, merges } = model;
  if (type !== "BPE" || suffix !== END_OF_WORD) {
    throw new TokenizerError(
      `${FILE} "model": is ${JSON.stringify(type)} with words ending in ${JSON.stringify(suffix)}; CLIP's is "BPE" with "${END_OF_WORD}"`,
    );
  }
  if (!Array.isArray(merges)) throw new TokenizerError(`${FILE} "merges": expected a list, found ${JSON.stringify(merges)}`);
  const lines = merges.map((merge: unknown, i) => {
    if (typeof merge === "string") return merge;
    if (Array.isArray(merge) && merge.length === 2 && merge.every((piece) => typeof piece === "string")) return merge.join(" ");
    throw new TokenizerError(`${FILE} "merges" ${i}: expected a pair of pieces, found ${JSON.stringify(merge)}`);
  });
  const added = json["added_tokens"] ?? [];
  if (!Array.isArray(added)) throw new TokenizerError(`${FILE} "added_tokens": expected a list, found ${JSON.stringify(added)}`);
  return { vocabulary: readJsonObject(model["vocab"], `${FILE} "vocab"`), merges: ["#version: 0.2", ...lines].join("\n"), added };
}
