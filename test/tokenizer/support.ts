// Tokenizers that the tokenizer's tests share.
import { readFileSync } from "node:fs";
import { createClipTokenizer, createTokenizer, type ClipTokenizerOptions, type Tokenizer } from "../../tokenizer/index.ts";

/** The bytes of CLIP's own merge list. */
export const clipMergeList = new Uint8Array(readFileSync("assets/clip/bpe_simple_vocab_16e6.txt.gz"));

/** CLIP's own tokenizer. */
export function clip(options?: ClipTokenizerOptions): Promise<Tokenizer> {
  return createClipTokenizer(clipMergeList, options);
}

/** The bundled model's tokenizer, from its four files. */
export function emoji(): Tokenizer {
  const [vocabulary, merges, config, specialTokens] = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"].map(
    (name) => readFileSync(`assets/emoji/tokenizer/${name}`, "utf8"),
  ) as [string, string, string, string];
  return createTokenizer({ vocabulary, merges, config, specialTokens });
}
