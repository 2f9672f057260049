// HTML character references, `&name;` and `&#number;`, only in the unambiguous form that ends in a semicolon.
// Follows `unescape_html` of ftfy 6.1.1 (Apache-2.0), for numbers `html.unescape` of Python 3.11.
import { CHARMAPS } from "./charmaps.ts";
import { HTML_ENTITY_GROUPS } from "./html-entities.ts";

const REFERENCE = /&#?[0-9A-Za-z]{1,24};/g;
const NUMERIC = /^&#(?:([0-9]+)|[xX]([0-9a-fA-F]+));$/;
// Names that HTML also reads without a semicolon; an upper-cased name that begins with one would be ambiguous.
const UPPER_PREFIX = /^(?:AMP|COPY|ETH|GT|LT|QUOT|REG|THORN)/;
const windows1252 = CHARMAPS[1]!.decode;

let entities: Map<string, string> | undefined;

/** Name -> characters; built at first use, since most prompts hold no `&`. */
function entityTable(): Map<string, string> {
  if (entities) return entities;
  entities = new Map();
  let first = 0;
  for (const group of HTML_ENTITY_GROUPS.trim().split(/\s+/)) {
    const [codes, names] = group.split(":") as [string, string];
    const [distance, second] = codes.split("+") as [string, string?];
    first += distance === "" ? 1 : Number(distance);
    const characters = String.fromCodePoint(first, ...(second === undefined ? [] : [Number.parseInt(second, 16)]));
    for (const name of names.split(",")) entities.set(name, characters);
  }
  // Upper-cased text: &EACUTE; is É. Only for names written in lower case, and only where the upper-case name means nothing else.
  for (const [name, characters] of entities) {
    const upper = name.toUpperCase();
    if (name === name.toLowerCase() && !entities.has(upper) && !UPPER_PREFIX.test(upper)) entities.set(upper, characters.toUpperCase());
  }
  return entities;
}

/** The character of a number, by HTML's rules for numbers that are not characters. */
function numbered(code: number): string {
  if (code === 0) return "\ufffd";
  if (code === 0x0d) return "\r";
  if (code >= 0x80 && code <= 0x9f) return windows1252[code]!;
  if ((code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return "\ufffd";
  const control = code < 0x09 || code === 0x0b || (code >= 0x0e && code < 0x20) || code === 0x7f;
  const nonCharacter = (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) === 0xfffe;
  return control || nonCharacter ? "" : String.fromCodePoint(code);
}

/**
 * Text with its HTML character references replaced; unknown ones stay, and so does `&#59;`, since the reference takes
 * a semicolon in the result for a sign that only a part was read.
 */
export function unescapeHtml(text: string): string {
  return text.replace(REFERENCE, (reference) => {
    const numeric = NUMERIC.exec(reference);
    if (!numeric) return entityTable().get(reference.slice(1, -1)) ?? reference;
    const [, decimal, hex] = numeric;
    const character = numbered(decimal === undefined ? Number.parseInt(hex!, 16) : Number.parseInt(decimal, 10));
    return character === ";" ? reference : character;
  });
}
