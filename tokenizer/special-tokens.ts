// What tokenizer_config.json and special_tokens_map.json say: the special tokens, the length, the clean-up when decoding.
import { TokenizerError } from "./errors.ts";
import { readJsonObject, type JsonSource } from "./vocabulary.ts";

/** A token that is looked for in the text itself, before any clean-up, and never split. */
export interface SpecialToken {
  readonly content: string;
  /** Whether white space before it, or after it, belongs to it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Whether the file gave it as a string: if it also gives it as an AddedToken object, that one's flags hold. */
  readonly bare: boolean;
}

export interface AddedToken {
  readonly id: number;
  readonly token: SpecialToken;
  readonly special: boolean;
  /** File and entry, for errors. */
  readonly where: string;
}

/** The settings of a tokenizer, from its small JSON files. */
export interface TokenizerSettings {
  readonly bos: SpecialToken;
  readonly eos: SpecialToken;
  readonly unknown: SpecialToken;
  readonly pad: SpecialToken;
  /** `additional_special_tokens`. */
  readonly additional: readonly SpecialToken[];
  /** Tokens beyond the vocabulary, such as those of textual inversion, with their ids and where they are said. */
  readonly added: readonly AddedToken[];
  /** `model_max_length`; undefined where the file has none or the "no limit" number 1e30. */
  readonly maxLength: number | undefined;
  readonly cleanUpSpaces: boolean;
}

const LONGEST = 2 ** 20;

function readToken(value: unknown, where: string): SpecialToken {
  // A bare string swallows white space on both sides, an AddedToken only where it says so.
  if (typeof value === "string") return { content: value, lstrip: true, rstrip: true, bare: true };
  const token = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  if (typeof token.content !== "string" || token.content === "") {
    throw new TokenizerError(`${where}: expected a token as a string or as an object with "content", found ${JSON.stringify(value)}`);
  }
  return { content: token.content, lstrip: token.lstrip === true, rstrip: token.rstrip === true, bare: false };
}

/** `added_tokens_decoder` of tokenizer_config.json, from transformers 4.34 on: by id, objects. */
function readAdded(value: unknown, file: string): AddedToken[] {
  if (value === undefined || value === null) return [];
  return Object.entries(readJsonObject(value, `${file} "added_tokens_decoder"`)).map(([id, entry]) => {
    const where = `${file} "added_tokens_decoder" ${JSON.stringify(id)}`;
    if (!/^\d{1,7}$/.test(id)) throw new TokenizerError(`${where}: expected a token id as the key`);
    return { id: Number(id), token: readToken(entry, where), special: (entry as Record<string, unknown>).special === true, where };
  });
}

/** added_tokens.json, before transformers 4.34: ids by token. */
function readAddedMap(source: JsonSource): AddedToken[] {
  return Object.entries(readJsonObject(source, "added_tokens.json")).map(([content, id]) => {
    const where = `added_tokens.json ${JSON.stringify(content)}`;
    return { id: tokenId(id, where), token: readToken(content, where), special: false, where };
  });
}

/** `added_tokens` of tokenizer.json: a list of objects with ids. */
function readAddedList(list: readonly unknown[]): AddedToken[] {
  return list.map((entry, i) => {
    const where = `tokenizer.json "added_tokens" ${i}`;
    const token = readToken(entry, where);
    const { id, special } = entry as Record<string, unknown>;
    return { id: tokenId(id, where), token, special: special === true, where };
  });
}

function tokenId(id: unknown, where: string): number {
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > 9_999_999) {
    throw new TokenizerError(`${where}: expected a token id, found ${JSON.stringify(id)}`);
  }
  return id;
}

/** `additional_special_tokens`, which transformers 5 calls `extra_special_tokens` and may keep by name. */
function readAdditional(
  map: Readonly<Record<string, unknown>>,
  settings: Readonly<Record<string, unknown>>,
  mapFile: string,
  configFile: string,
): SpecialToken[] {
  for (const [file, fields] of [
    [mapFile, map],
    [configFile, settings],
  ] as const) {
    for (const key of ["additional_special_tokens", "extra_special_tokens"]) {
      const value = fields[key];
      if (value === undefined || value === null) continue;
      if (typeof value !== "object" || (!Array.isArray(value) && key === "additional_special_tokens")) {
        throw new TokenizerError(`${file} "${key}": expected a list, found ${JSON.stringify(value)}`);
      }
      return Object.values(value).map((token: unknown) => readToken(token, `${file} "${key}"`));
    }
  }
  return [];
}

/** What says which tokens there are beyond the vocabulary, besides tokenizer_config.json. */
export interface AddedSources {
  /** added_tokens.json */
  readonly map?: JsonSource | undefined;
  /** `added_tokens` of tokenizer.json. */
  readonly list?: readonly unknown[] | undefined;
}

/**
 * Settings from tokenizer_config.json and special_tokens_map.json; the second one wins, missing entries are CLIP's own.
 * SD 2 says there that it pads with "!".
 * @throws TokenizerError naming the file and the entry that is malformed.
 */
export function readSettings(
  config: JsonSource = {},
  specialTokens: JsonSource = {},
  { map: addedMap, list: addedList }: AddedSources = {},
): TokenizerSettings {
  const configFile = "tokenizer_config.json";
  const mapFile = "special_tokens_map.json";
  const settings = readJsonObject(config, configFile);
  const map = readJsonObject(specialTokens, mapFile);
  const token = (key: string, fallback: string): SpecialToken => {
    if (map[key] !== undefined && map[key] !== null) return readToken(map[key], `${mapFile} "${key}"`);
    const value = settings[key] ?? fallback;
    const read = readToken(value, `${configFile} "${key}"`);
    // The reference makes an AddedToken of every string here but the padding's.
    return typeof value === "string" && key !== "pad_token" ? { content: value, lstrip: false, rstrip: false, bare: false } : read;
  };
  const length = settings.model_max_length;
  if (length !== undefined && length !== null && (typeof length !== "number" || !(length >= 2))) {
    throw new TokenizerError(`${configFile} "model_max_length": expected a number of 2 or more, found ${JSON.stringify(length)}`);
  }
  return {
    bos: token("bos_token", "<|startoftext|>"),
    eos: token("eos_token", "<|endoftext|>"),
    unknown: token("unk_token", "<|endoftext|>"),
    pad: token("pad_token", "<|endoftext|>"),
    additional: readAdditional(map, settings, mapFile, configFile),
    added: [
      ...readAdded(settings.added_tokens_decoder, configFile),
      ...(addedMap === undefined ? [] : readAddedMap(addedMap)),
      ...readAddedList(addedList ?? []),
    ],
    maxLength: typeof length === "number" && length <= LONGEST ? Math.floor(length) : undefined,
    cleanUpSpaces: settings.clean_up_tokenization_spaces !== false,
  };
}
