// A prompt's clean-up and its split into the words that byte-pair encoding works on.
import { fixText } from "./clean-up/fix-text.ts";

// CLIP's pattern, case-insensitive upstream: after lower-casing only ſ (U+017F) still counts as another letter's case.
// U+0345, a mark whose capital is a letter, is neither letter nor other symbol there, so it is lost.
// Python's `regex` takes Unicode's White_Space for \s; JavaScript's \s is another set.
const WORD = /<\|[sſ]tartoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}\u0345]+/gu;

/**
 * A text as CLIP sees it: Unicode clean-up, runs of white space made one space, trimmed, lower-cased.
 * Source: transformers 4.33 `CLIPTokenizer._tokenize` with ftfy 6.1.1.
 */
export function cleanText(text: string): string {
  return fixText(text)
    .replace(/\p{White_Space}+/gu, " ")
    .replace(/^ | $/g, "")
    .toLowerCase();
}

/** The words of a text: runs of letters, single digits, runs of other symbols, English contractions, the two special tokens. */
export function splitWords(text: string): string[] {
  return cleanText(text).match(WORD) ?? [];
}
