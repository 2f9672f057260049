// CLIP's tokenizer: text to token ids and back. Leaf of the engine: it imports nothing outside this folder.
import { BytePairEncoder } from "./bpe.ts";
import { cleanUpSpaces, decodeIds } from "./decode.ts";
import { createEncoder } from "./encode.ts";
import { TokenizerError } from "./errors.ts";
import { addTokens, piecesOf, specialIdsOf } from "./pieces.ts";
import { readSettings } from "./special-tokens.ts";
import { readTokenizerJson } from "./tokenizer-json.ts";
import { readMerges, readVocabulary, type JsonSource } from "./vocabulary.ts";
import type { Reading } from "./words.ts";

/** A prompt's ids and whether all of it fitted. */
export interface Encoding {
  /** `[maxLength]`: bos, the prompt's ids, eos, padding. */
  readonly ids: Int32Array;
  /** How many ids the whole prompt has, without bos and eos. */
  readonly tokenCount: number;
  /** The ids at the end of the prompt that did not fit; empty if all did. */
  readonly dropped: readonly number[];
}

/** How `decode` reads ids. */
export interface DecodeOptions {
  /** Leave out bos, eos, padding and unknown. Default false. */
  readonly skipSpecialTokens?: boolean;
  /** Take away the space before `. , ! ?` and English contractions. Default: as tokenizer_config.json says, else true. */
  readonly cleanUpSpaces?: boolean;
}

/** Text to ids and back, for one model's vocabulary. */
export interface Tokenizer {
  /** bos + ids + eos + padding, `[maxLength]`; what does not fit is cut off before eos. */
  encode(text: string): Int32Array;
  /** As `encode`, and tells how many ids the prompt has and which were cut off. */
  encodeFully(text: string): Encoding;
  /** The ids of a text alone: no bos, eos, padding or truncation. */
  tokenize(text: string): number[];
  /** The ids that another reader of the same vocabulary makes of a text. */
  tokenizeAs(text: string, reading: Reading): number[];
  /** Every id with its piece, such as `church</w>`. */
  vocabulary(): Iterable<readonly [number, string]>;
  /** Bare ids framed as `encode` does: `[maxLength]`. */
  frame(ids: ArrayLike<number>): Int32Array;
  /** The text of ids, as transformers' `CLIPTokenizer.decode`. Throws TokenizerError on an id outside the vocabulary. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** The vocabulary's pieces for ids, such as `church</w>`. Throws TokenizerError on an id outside the vocabulary. */
  pieces(ids: ArrayLike<number>): string[];
  /** The greatest id plus one: the rows that a token table needs. */
  readonly vocabularySize: number;
  /** Length of an encoded prompt, bos and eos included. */
  readonly maxLength: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
}

/** The files of a tokenizer folder, as text or, for the JSON ones, parsed. */
export interface TokenizerFiles {
  /** vocab.json */
  readonly vocabulary?: JsonSource | undefined;
  /** merges.txt */
  readonly merges?: string | undefined;
  /** tokenizer.json, read where the two above are absent: transformers 5 saves no others. */
  readonly tokenizer?: JsonSource | undefined;
  /** added_tokens.json, of transformers before 4.34. */
  readonly addedTokens?: JsonSource | undefined;
  /** tokenizer_config.json */
  readonly config?: JsonSource | undefined;
  /** special_tokens_map.json */
  readonly specialTokens?: JsonSource | undefined;
  /** Overrides `model_max_length`, say by the text encoder's `max_position_embeddings`. Without either it is 77. */
  readonly maxLength?: number | undefined;
}

/** Vocabulary and merges, from whichever files hold them, and the files' names. @throws TokenizerError */
function partsOf({ vocabulary, merges, tokenizer }: TokenizerFiles): {
  readonly vocabulary: JsonSource;
  readonly merges: string;
  readonly added: readonly unknown[];
  readonly names: readonly [string, string];
} {
  if (vocabulary !== undefined && merges !== undefined) return { vocabulary, merges, added: [], names: ["vocab.json", "merges.txt"] };
  if (tokenizer === undefined) throw new TokenizerError("there is neither vocab.json with merges.txt nor tokenizer.json");
  return { ...readTokenizerJson(tokenizer), names: ["tokenizer.json", "tokenizer.json"] };
}

/**
 * A tokenizer from a model's own files. Missing settings are those of SD 1.x: `<|startoftext|>`, `<|endoftext|>` as eos,
 * unknown and padding, length 77.
 * Source: transformers 4.33 `CLIPTokenizer` (the slow class) with ftfy 6.1.1.
 * @throws TokenizerError if a file is malformed, the files do not belong together, or the vocabulary lacks a special token.
 */
export function createTokenizer(files: TokenizerFiles): Tokenizer {
  const { vocabulary, merges, added: addedList, names } = partsOf(files);
  const known = readVocabulary(vocabulary, names[0]);
  const settings = readSettings(files.config, files.specialTokens, { map: files.addedTokens, list: addedList });
  const encoder = new BytePairEncoder(readMerges(merges, known.idOf, names[1]));
  const added = addTokens(known, settings.added, names[0]);
  const { bosId, eosId, padId, unknownId, specialIds } = specialIdsOf(known, settings);
  const maxLength = files.maxLength ?? settings.maxLength ?? 77;
  if (!Number.isInteger(maxLength) || maxLength < 2) {
    throw new TokenizerError(`maxLength: expected a whole number of 2 or more (bos and eos count), found ${maxLength}`);
  }
  const tokenizeAs = createEncoder(known, encoder, settings, unknownId);
  const frame = (ids: ArrayLike<number>): Int32Array => {
    const used = Math.min(ids.length, maxLength - 2);
    const framed = new Int32Array(maxLength).fill(padId);
    framed[0] = bosId;
    for (let i = 0; i < used; i++) framed[i + 1] = ids[i]!;
    framed[used + 1] = eosId;
    return framed;
  };

  const encodeFully = (text: string): Encoding => {
    const ids = tokenizeAs(text);
    return { ids: frame(ids), tokenCount: ids.length, dropped: ids.slice(maxLength - 2) };
  };

  const decode = (ids: ArrayLike<number>, options: DecodeOptions = {}): string => {
    const kept = Array.from(ids).filter((id) => !options.skipSpecialTokens || !specialIds.has(id));
    const text = decodeIds(known, added, kept);
    return (options.cleanUpSpaces ?? settings.cleanUpSpaces) ? cleanUpSpaces(text) : text;
  };

  return {
    encode: (text) => encodeFully(text).ids,
    encodeFully,
    tokenize: (text) => tokenizeAs(text),
    tokenizeAs,
    vocabulary: () => known.pieceOf.entries(),
    frame,
    decode,
    pieces: (ids) => piecesOf(known, ids),
    vocabularySize: 1 + [...known.pieceOf.keys()].reduce((greatest, id) => Math.max(greatest, id), 0),
    maxLength,
    bosId,
    eosId,
    padId,
  };
}
