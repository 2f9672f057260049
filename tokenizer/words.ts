// A prompt's clean-up and its split into the words that byte-pair encoding works on.
import { fixText } from "./clean-up/fix-text.ts";
import { unescapeHtml } from "./clean-up/html.ts";

// CLIP's pattern, case-insensitive upstream: after lower-casing only ſ (U+017F) still counts as another letter's case.
// U+0345, a mark whose capital is a letter, is neither letter nor other symbol there, so it is lost.
// Python's `regex` takes Unicode's White_Space for \s; JavaScript's \s is another set.
const WORD = /<\|[sſ]tartoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}\u0345]+/gu;

/**
 * Who reads a text: transformers 4 with ftfy (the reference of everything here); transformers 5, which only brings it to NFC; or
 * openai/CLIP's own code, which unescapes HTML twice after ftfy, whatever else is in the text (references without a semicolon, which it
 * knows too, are left).
 */
export type Reading = "transformers-4" | "transformers-5" | "openai";

const CLEAN_UPS: Readonly<Record<Reading, (text: string) => string>> = {
  "transformers-4": fixText,
  "transformers-5": (text) => text.normalize("NFC"),
  openai: (text) => unescapeHtml(unescapeHtml(fixText(text))),
};

/**
 * A text as CLIP sees it: Unicode clean-up, runs of white space made one space, trimmed, lower-cased.
 * Source: transformers 4.33 `CLIPTokenizer._tokenize` with ftfy 6.1.1.
 */
export function cleanText(text: string, reading: Reading = "transformers-4"): string {
  return CLEAN_UPS[reading](text)
    .replace(/\p{White_Space}+/gu, " ")
    .replace(/^ | $/g, "")
    .toLowerCase();
}

/** The words of a text: runs of letters, single digits, runs of other symbols, English contractions, the two special tokens. */
export function splitWords(text: string, reading?: Reading): string[] {
  return cleanText(text, reading).match(WORD) ?? [];
}
