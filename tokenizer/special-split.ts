// Finds the special tokens that stand in a text itself, before any clean-up, as transformers' slow tokenizers do.
import { PYTHON_SPACE } from "./clean-up/badness.ts";
import type { SpecialToken } from "./special-tokens.ts";

/** A stretch of text to clean up and encode, or a special token found in it. */
export type TextPart = { readonly text: string } | { readonly special: string };

const SPACE_BEFORE = new RegExp(`[${PYTHON_SPACE}]+$`);
const SPACE_AFTER = new RegExp(`^[${PYTHON_SPACE}]+`);

/** `str.strip` of Python. */
export function stripPythonSpace(text: string): string {
  return text.replace(SPACE_AFTER, "").replace(SPACE_BEFORE, "");
}

/**
 * A function that cuts a text at the given tokens, the longest first where several begin at one place.
 * SD 2 names "!" as its padding token, so there every "!" is cut out and becomes id 0 rather than a word of its own.
 * Source: transformers 4.33 `PreTrainedTokenizer.tokenize` and its `Trie`.
 */
export function specialSplitter(tokens: readonly SpecialToken[]): (text: string) => TextPart[] {
  const byContent = new Map<string, SpecialToken>();
  for (const token of tokens) {
    const known = byContent.get(token.content);
    if (!known || known.bare || !token.bare) byContent.set(token.content, token);
  }
  const alternatives = [...byContent.keys()]
    .toSorted((a, b) => b.length - a.length)
    .map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  const pattern = new RegExp(`(${alternatives.join("|")})`, "u");
  return (text) => {
    const pieces = text.split(pattern); // with one capture group the odd ones are the tokens
    for (let i = 1; i < pieces.length; i += 2) {
      const token = byContent.get(pieces[i]!)!;
      if (token.lstrip) pieces[i - 1] = pieces[i - 1]!.replace(SPACE_BEFORE, "");
      if (token.rstrip) pieces[i + 1] = pieces[i + 1]!.replace(SPACE_AFTER, "");
    }
    return pieces
      .map((piece, i): TextPart => (i % 2 === 1 ? { special: piece } : { text: piece }))
      .filter((part) => "special" in part || part.text !== "");
  };
}
