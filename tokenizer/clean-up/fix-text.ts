// The Unicode clean-up that CLIP's tokenizer applies first: `fix_text` of ftfy 6.1.1 (R. Speer, Apache-2.0), default settings,
// written anew from its behaviour.
import { unescapeHtml } from "./html.ts";
import { fixC1Controls, fixEncoding } from "./mojibake.ts";

// Ligatures of Latin letters, and digraphs that exist only for the sake of older encodings.
const LIGATURES: Readonly<Record<string, string>> = {
  Ĳ: "IJ", ĳ: "ij", ŉ: "ʼn", Ǳ: "DZ", ǲ: "Dz", ǳ: "dz", Ǆ: "DŽ", ǅ: "Dž", ǆ: "dž", Ǉ: "LJ", ǈ: "Lj", ǉ: "lj", Ǌ: "NJ", ǋ: "Nj", ǌ: "nj",
  ﬀ: "ff", ﬁ: "fi", ﬂ: "fl", ﬃ: "ffi", ﬄ: "ffl", ﬅ: "ſt", ﬆ: "st",
};
const LIGATURE = new RegExp(`[${Object.keys(LIGATURES).join("")}]`, "g");

/** Half- and full-width forms become the ordinary characters, the ideographic space a space. */
function fixCharacterWidth(text: string): string {
  return text.replace(/\u3000/g, " ").replace(/[\uff01-\uffef]/g, (form) => form.normalize("NFKC"));
}

// Controls that stand for nothing in a prompt; those that are white space or shape glyphs (joiners, direction marks) stay.
const CONTROLS = /(?![\t\n\f\r\x80-\x9f])[\p{Cc}\u206a-\u206f\ufeff\ufff9-\ufffc]/gu;
const ESCAPE = "\x1b";
const TERMINAL_ESCAPE = new RegExp(`${ESCAPE}\\[[\\p{Nd};]*[a-zA-Z]`, "gu");

/** One pass over one line; unescapes HTML first if asked. */
function fixOnce(text: string, html: boolean): string {
  const decoded = fixC1Controls(fixEncoding(html ? unescapeHtml(text) : text));
  return fixCharacterWidth(decoded.replace(LIGATURE, (ligature) => LIGATURES[ligature]!))
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/\r\n|[\r\u2028\u2029\x85]/g, "\n")
    .replace(/\p{Cs}/gu, "\ufffd") // with the u flag only lone surrogates are of that category
    .replace(TERMINAL_ESCAPE, "")
    .replace(CONTROLS, "")
    .normalize("NFC");
}

/**
 * Text with mojibake undone, HTML references, ligatures, full-width forms, curly quotes, line breaks and lone surrogates
 * replaced, terminal escapes and control characters removed, in NFC. Line by line, each until nothing changes. HTML
 * references are left from the first line on that holds a `<`, since such a text may be HTML.
 * Source: ftfy 6.1.1, `fix_text` with default settings (of which the split of lines over a million characters is left out).
 */
export function fixText(text: string): string {
  let html = true;
  let fixedText = "";
  for (const line of text.split(/(?<=\n)/)) {
    if (line.includes("<")) html = false;
    let before: string;
    let fixed = line;
    do {
      before = fixed;
      fixed = fixOnce(before, html);
    } while (fixed !== before);
    fixedText += fixed;
  }
  return fixedText;
}
