// CLIP's byte-level BPE tokenizer.
export type { Reading } from "./words.ts";
export { TokenizerError } from "./errors.ts";
export { createTokenizer, type DecodeOptions, type Encoding, type Tokenizer, type TokenizerFiles } from "./tokenizer.ts";
export { createClipTokenizer, type ClipTokenizerOptions } from "./clip.ts";
