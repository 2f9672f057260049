// Text to bare ids.
import type { BytePairEncoder } from "./bpe.ts";
import { TokenizerError } from "./errors.ts";
import { specialSplitter } from "./special-split.ts";
import type { TokenizerSettings } from "./special-tokens.ts";
import type { Vocabulary } from "./vocabulary.ts";
import { type Reading, splitWords } from "./words.ts";

// CLIP's pattern keeps its own two tokens whole even in other letter cases, whatever the config calls special.
const WHOLE = ["<|startoftext|>", "<|endoftext|>"];

/**
 * What makes ids of a text: no bos, eos, padding or truncation. Special tokens stand for themselves; words are split by CLIP's pattern
 * and merged.
 * @param unknownId of pieces that the vocabulary lacks; what is made throws TokenizerError for such a piece where it is undefined
 */
export function createEncoder(
  { idOf }: Vocabulary,
  merges: BytePairEncoder,
  settings: TokenizerSettings,
  unknownId: number | undefined,
): (text: string, reading?: Reading) => number[] {
  const split = specialSplitter([
    settings.bos,
    settings.eos,
    ...(unknownId === undefined ? [] : [settings.unknown]),
    settings.pad,
    ...settings.additional,
    ...settings.added.map((a) => a.token),
  ]);
  const idOfPiece = (piece: string): number => {
    const id = idOf.get(piece) ?? unknownId;
    if (id === undefined) {
      throw new TokenizerError(
        `vocab.json: neither the piece ${JSON.stringify(piece)} nor the unknown token ${JSON.stringify(settings.unknown.content)} is in ` +
          "the vocabulary",
      );
    }
    return id;
  };
  return (text, reading) =>
    split(text).flatMap((part) =>
      "special" in part
        ? [idOfPiece(part.special)]
        : splitWords(part.text, reading).flatMap((word) => (WHOLE.includes(word) ? [word] : merges.encode(word)).map(idOfPiece)),
    );
}
