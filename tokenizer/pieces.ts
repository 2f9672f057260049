// A tokenizer's whole vocabulary: vocab.json, the tokens beyond it, and which of all are special.
import { TokenizerError } from "./errors.ts";
import type { SpecialToken, TokenizerSettings } from "./special-tokens.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Ids that have a role. */
export interface SpecialIds {
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  /** Undefined where the vocabulary lacks the unknown token: one that holds every byte never needs it. */
  readonly unknownId: number | undefined;
  /** All ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
}

/**
 * Puts the tokens beyond vocab.json into the vocabulary.
 * @param file that the vocabulary was read from, for errors
 * @returns the ids that came in, which are decoded on their own, not as bytes
 * @throws TokenizerError if such a token has another id in the vocabulary, or its id another piece
 */
export function addTokens({ idOf, pieceOf }: Vocabulary, tokens: TokenizerSettings["added"], file: string): ReadonlySet<number> {
  const added = new Set<number>();
  for (const { id, token: { content }, where } of tokens) {
    const other = idOf.get(content) ?? id;
    const taken = pieceOf.get(id) ?? content;
    if (other !== id || taken !== content) {
      throw new TokenizerError(
        `${where} gives ${JSON.stringify(content)} id ${id}, but in ${file} ` +
          `${other !== id ? `it is ${other}` : `that id is ${JSON.stringify(taken)}`}`,
      );
    }
    if (pieceOf.has(id)) continue;
    idOf.set(content, id);
    pieceOf.set(id, content);
    added.add(id);
  }
  return added;
}

/** The ids of the settings' special tokens. @throws TokenizerError if the vocabulary lacks one but the unknown token */
export function specialIdsOf({ idOf }: Vocabulary, settings: TokenizerSettings): SpecialIds {
  const idOfSpecial = ({ content }: SpecialToken, role: string): number => {
    const id = idOf.get(content);
    if (id === undefined) {
      throw new TokenizerError(`vocab.json: the ${role} token ${JSON.stringify(content)} is not in the vocabulary of ${idOf.size} pieces`);
    }
    return id;
  };
  const bosId = idOfSpecial(settings.bos, "bos");
  const eosId = idOfSpecial(settings.eos, "eos");
  const padId = idOfSpecial(settings.pad, "padding");
  const unknownId = idOf.get(settings.unknown.content);
  const additional = settings.additional.map((token) => idOfSpecial(token, "additional special"));
  const specialIds = new Set([bosId, eosId, padId, ...(unknownId === undefined ? [] : [unknownId]), ...additional]);
  for (const { id, special } of settings.added) if (special) specialIds.add(id);
  return { bosId, eosId, padId, unknownId, specialIds };
}

/** The pieces of ids. @throws TokenizerError on an id outside the vocabulary */
export function piecesOf({ idOf, pieceOf }: Vocabulary, ids: ArrayLike<number>): string[] {
  return Array.from(ids, (id) => {
    const piece = pieceOf.get(id);
    if (piece === undefined) throw new TokenizerError(`token id ${id} is not in the vocabulary of ${idOf.size} pieces`);
    return piece;
  });
}
