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

/** The settings of a tokenizer, from its two small JSON files. */
export interface TokenizerSettings {
  readonly bos: SpecialToken;
  readonly eos: SpecialToken;
  readonly unknown: SpecialToken;
  readonly pad: SpecialToken;
  /** `additional_special_tokens`. */
  readonly additional: readonly SpecialToken[];
  /** `added_tokens_decoder`: tokens beyond vocab.json, such as those of textual inversion, with their ids. */
  readonly added: readonly { readonly id: number; readonly token: SpecialToken; readonly special: boolean }[];
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

function readAdded(value: unknown, file: string): TokenizerSettings["added"] {
  if (value === undefined || value === null) return [];
  return Object.entries(readJsonObject(value, `${file} "added_tokens_decoder"`)).map(([id, entry]) => {
    const where = `${file} "added_tokens_decoder" ${JSON.stringify(id)}`;
    if (!/^\d{1,7}$/.test(id)) throw new TokenizerError(`${where}: expected a token id as the key`);
    return { id: Number(id), token: readToken(entry, where), special: (entry as Record<string, unknown>).special === true };
  });
}

/**
 * Settings from tokenizer_config.json and special_tokens_map.json; the second one wins, missing entries are CLIP's own.
 * SD 2 says there that it pads with "!".
 * @throws TokenizerError naming the file and the entry that is malformed.
 */
export function readSettings(config: JsonSource = {}, specialTokens: JsonSource = {}): TokenizerSettings {
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
  const [listFile, list] = map.additional_special_tokens === undefined ? [configFile, settings.additional_special_tokens] : [mapFile, map.additional_special_tokens];
  if (list !== undefined && list !== null && !Array.isArray(list)) {
    throw new TokenizerError(`${listFile} "additional_special_tokens": expected a list, found ${JSON.stringify(list)}`);
  }
  const length = settings.model_max_length;
  if (length !== undefined && length !== null && (typeof length !== "number" || !(length >= 2))) {
    throw new TokenizerError(`${configFile} "model_max_length": expected a number of 2 or more, found ${JSON.stringify(length)}`);
  }
  return {
    bos: token("bos_token", "<|startoftext|>"),
    eos: token("eos_token", "<|endoftext|>"),
    unknown: token("unk_token", "<|endoftext|>"),
    pad: token("pad_token", "<|endoftext|>"),
    additional: (Array.isArray(list) ? list : []).map((value: unknown) => readToken(value, `${listFile} "additional_special_tokens"`)),
    added: readAdded(settings.added_tokens_decoder, configFile),
    maxLength: typeof length === "number" && length <= LONGEST ? Math.floor(length) : undefined,
    cleanUpSpaces: settings.clean_up_tokenization_spaces !== false,
  };
}
