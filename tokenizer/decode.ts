// Ids back to text.
import { END_OF_WORD } from "./bpe.ts";
import { textOf } from "./bytes.ts";
import { piecesOf } from "./pieces.ts";
import { stripPythonSpace } from "./special-split.ts";
import type { Vocabulary } from "./vocabulary.ts";

// In this order: a later rule sees what an earlier one left.
const CLEAN_UP = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"];

/**
 * The text of ids: pieces in a row are bytes, a token of `added` stands for itself, and both are joined by a space.
 * Source: transformers 4.33 `PreTrainedTokenizer._decode`.
 * @throws TokenizerError on an id outside the vocabulary
 */
export function decodeIds(vocabulary: Vocabulary, added: ReadonlySet<number>, ids: readonly number[]): string {
  const texts: string[] = [];
  let run: string[] = [];
  const endRun = (): void => {
    if (run.length > 0) texts.push(stripPythonSpace(textOf(run.join("")).replaceAll(END_OF_WORD, " ")));
    run = [];
  };
  piecesOf(vocabulary, ids).forEach((piece, i) => {
    if (!added.has(ids[i]!)) run.push(piece);
    else {
      endRun();
      texts.push(piece);
    }
  });
  endRun();
  return texts.join(" ");
}

/** Without the space before `. , ! ?` and English contractions. Source: transformers 4.33 `clean_up_tokenization`. */
export function cleanUpSpaces(text: string): string {
  return CLEAN_UP.reduce((cleaned, spaced) => cleaned.replaceAll(spaced, spaced.trim()), text);
}
