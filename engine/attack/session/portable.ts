import type { Tokenizer } from "../../../tokenizer/index.ts";

/**
 * How the tokenizers that others use would read a prompt, where they differ from transformers 4 with ftfy, which is what the tokens here
 * are those of.
 */
const READINGS = [
  ["transformers 5, which cleans nothing up", "transformers-5"],
  ["openai/CLIP", "openai"],
] as const;

/**
 * Why a prompt cannot be handed on as text: it has characters that do not print or are cut from pasted text, or another tokenizer of CLIP
 * reads other
 * tokens out of it. Undefined if it can. Source of the readings: transformers 5 `CLIPTokenizer` (NFC, white space, lower case), openai/CLIP
 * simple_tokenizer.py.
 */
export function whyNotPortable(tokenizer: Tokenizer, prompt: string): string | undefined {
  const odd = /[\p{C}\p{Zl}\p{Zp}\ufffd]/u.exec(prompt)?.[0];
  if (odd !== undefined) {
    const code = `U+${odd.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
    return odd === "\ufffd" ? `it holds bytes that are not characters (${code})` : `it holds ${code}, a character that does not print`;
  }
  const own = tokenizer.tokenize(prompt);
  for (const [name, reading] of READINGS) {
    const other = tokenizer.tokenizeAs(prompt, reading);
    const at = Array.from({ length: Math.max(own.length, other.length) }, (_, i) => i).find((i) => own[i] !== other[i]);
    if (at !== undefined) {
      const [theirs, ours] = [piece(tokenizer, other[at]), piece(tokenizer, own[at])];
      return `${name}, reads other tokens from number ${at + 1} on: ${theirs} in place of ${ours}`;
    }
  }
  return undefined;
}

function piece(tokenizer: Tokenizer, id: number | undefined): string {
  return id === undefined ? "nothing" : JSON.stringify(tokenizer.pieces([id])[0]);
}
