// Reads a tokenizer's vocab.json and merges.txt, and checks that they belong together.
import { TokenizerError } from "./errors.ts";

/** transformers' CLIPTokenizer reads no more merges than these of CLIP's own list, whatever the file holds. */
export const MAX_MERGES = 48894;

/** A JSON file: its text, or what it parses to. */
export type JsonSource = string | Readonly<Record<string, unknown>>;

/**
 * The JSON object in a file.
 * @throws TokenizerError naming `file` if the text is no JSON, or JSON of another kind.
 */
export function readJsonObject(source: unknown, file: string): Record<string, unknown> {
  let value: unknown = source;
  if (typeof source === "string") {
    try {
      value = JSON.parse(source.replace(/^\ufeff/, ""));
    } catch (cause) {
      throw new TokenizerError(`${file}: not valid JSON (${cause instanceof Error ? cause.message : String(cause)})`, { cause });
    }
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TokenizerError(
      `${file}: expected a JSON object, found ${Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`}`,
    );
  }
  return value as Record<string, unknown>;
}

// Ids index the token table; no known vocabulary comes near this, and a typed array of it can still be had.
const MAX_ID = 2 ** 24;

/** Vocabulary pieces by id and ids by piece. */
export interface Vocabulary {
  readonly idOf: Map<string, number>;
  readonly pieceOf: Map<number, string>;
}

/**
 * vocab.json: an object that gives every piece its id.
 * @throws TokenizerError if it is empty, an id is not a whole number of 0 or more, or two pieces share an id.
 */
export function readVocabulary(source: JsonSource, file = "vocab.json"): Vocabulary {
  const idOf = new Map<string, number>();
  const pieceOf = new Map<number, string>();
  for (const [piece, id] of Object.entries(readJsonObject(source, file))) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > MAX_ID) {
      throw new TokenizerError(
        `${file}: the id of ${JSON.stringify(piece)} is ${JSON.stringify(id)}; expected a whole number from 0 to ${MAX_ID}`,
      );
    }
    const other = pieceOf.get(id);
    if (other !== undefined) throw new TokenizerError(`${file}: ${JSON.stringify(other)} and ${JSON.stringify(piece)} both have id ${id}`);
    idOf.set(piece, id);
    pieceOf.set(id, piece);
  }
  if (idOf.size === 0) throw new TokenizerError(`${file}: the vocabulary is empty`);
  return { idOf, pieceOf };
}

/**
 * merges.txt: a version line, then one pair of pieces a line, most frequent first. Gives "left right" -> rank.
 * @throws TokenizerError with the line's number if it is not a pair, or the pair's pieces or their union are not in the vocabulary.
 */
export function readMerges(text: string, vocabulary: ReadonlyMap<string, number>, file = "merges.txt"): Map<string, number> {
  const ranks = new Map<string, number>();
  const lines = text.trim().split(/\r\n|\r|\n/);
  for (let i = 1; i < Math.min(lines.length, MAX_MERGES + 1); i++) {
    const pair = lines[i]!.trim().split(/\s+/);
    const where = `${file} line ${i + 1}`;
    if (pair.length !== 2 || pair[0] === "") {
      throw new TokenizerError(`${where}: expected two pieces separated by a space, found ${JSON.stringify(lines[i]!.slice(0, 80))}`);
    }
    const [left, right] = pair as [string, string];
    for (const piece of [left, right, left + right]) {
      if (!vocabulary.has(piece)) {
        const role = piece === left + right ? `joins ${JSON.stringify(left)} and ${JSON.stringify(right)} into` : "names";
        throw new TokenizerError(
          `${where}: ${role} ${JSON.stringify(piece)}, which vocab.json does not hold; the two files belong to different tokenizers`,
        );
      }
    }
    ranks.set(`${left} ${right}`, i - 1);
  }
  return ranks;
}
