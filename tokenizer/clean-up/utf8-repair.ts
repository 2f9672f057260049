// Repairs on the bytes of a text that should have been UTF-8, and its strict decoding. Bytes are held as byte strings (one
// UTF-16 unit of 0..255 per byte), so that regular expressions apply. Follows the behaviour of ftfy 6.1.1 (fixes.py,
// chardata.py, bad_codecs/utf8_variants.py; R. Speer, Apache-2.0).

// UTF-8 in which byte A0, read as a no-break space, was turned into a plain space. Two-byte leads are only those that give a
// likely character; three-byte ones leave out rare scripts (E0 A0, E1 A0) and CJK; four-byte ones are the emoji's F0.
const LOST_A0 = new RegExp(
  [
    "[\\xc2\\xc3\\xc5\\xce\\xd0\\xd9] ",
    "[\\xe2\\xe3] [\\x80-\\x84\\x86-\\x9f\\xa1-\\xbf]",
    "[\\xe0-\\xe3][\\x80-\\x84\\x86-\\x9f\\xa1-\\xbf] ",
    "\\xf0 [\\x80-\\xbf]{2}",
    "\\xf0[\\x80-\\xbf] [\\x80-\\xbf]",
    "\\xf0[\\x80-\\xbf]{2} ",
  ].join("|"),
  "g",
);

// "Ã " is mostly the word "à" with both its no-break space and the space after it merged into one; Portuguese contractions are not.
const A_GRAVE_WORD = /\xc3 (?! |quele|quela|quilo|s )/g;

/** Puts byte A0 back where a space stands in what else would be UTF-8. Byte string in and out. */
export function restoreByteA0(bytes: string): string {
  if (bytes.search(LOST_A0) < 0) return bytes;
  return bytes.replace(A_GRAVE_WORD, "\xc3\xa0 ").replace(LOST_A0, (sequence) => sequence.replaceAll(" ", "\xa0"));
}

// UTF-8 and CESU-8 sequences with bytes lost: 1A stands for U+FFFD (see charmaps.ts); "?" counts as lost once in a sequence.
const LOST_BYTES = new RegExp(
  [
    "[\\xc2-\\xdf]\\x1a",
    "[\\xc2\\xc3]\\?",
    "\\xed[\\xa0-\\xaf][\\x1a?]\\xed[\\xb0-\\xbf][\\x1a?\\x80-\\xbf]",
    "\\xed[\\xa0-\\xaf][\\x1a?\\x80-\\xbf]\\xed[\\xb0-\\xbf][\\x1a?]",
    "[\\xe0-\\xef][\\x1a?][\\x1a\\x80-\\xbf]",
    "[\\xe0-\\xef][\\x1a\\x80-\\xbf][\\x1a?]",
    "[\\xf0-\\xf4][\\x1a?][\\x1a\\x80-\\xbf]{2}",
    "[\\xf0-\\xf4][\\x1a\\x80-\\xbf][\\x1a?][\\x1a\\x80-\\xbf]",
    "[\\xf0-\\xf4][\\x1a\\x80-\\xbf]{2}[\\x1a?]",
    "\\x1a",
  ].join("|"),
  "g",
);

/** Replaces sequences whose bytes were lost by U+FFFD in UTF-8. Byte string in and out. */
export function replaceLossySequences(bytes: string): string {
  return bytes.replace(LOST_BYTES, "\xef\xbf\xbd");
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeStrict(bytes: string): string | undefined {
  try {
    return strict.decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
  } catch {
    return undefined; // a TypeError is how TextDecoder says that the bytes are no UTF-8
  }
}

// `END` is Python's `$`, which also matches before a final line break; the reference's decoder depends on it.
const END = "(?=\\n?$)";
const HIGH_SURROGATE = `\\xed(?:[\\xa0-\\xaf]|${END})(?:[\\x80-\\xbf]|${END})`;
const LOW_SURROGATE = `(?:\\xed|${END})(?:[\\xb0-\\xbf]|${END})(?:[\\x80-\\xbf]|${END})`;
const SURROGATE_PAIR = HIGH_SURROGATE + LOW_SURROGATE;
const SPECIAL = new RegExp(`\\xc0(?:\\x80|${END})|${SURROGATE_PAIR}|\\xed(?:[\\xa0-\\xbf]|${END})(?:[\\x80-\\xbf]|${END})`);
const PAIR_HERE = new RegExp(`^${SURROGATE_PAIR}`);

/** UTF-8 that may also hold surrogate pairs encoded one by one (CESU-8) and Java's two-byte null (C0 80). */
function decodeVariants(bytes: string): string | undefined {
  let text = "";
  let rest = bytes;
  while (rest.length > 0) {
    const at = rest.search(SPECIAL);
    const plain = at < 0 ? rest.length : at;
    let used: number;
    let piece: string | undefined;
    if (plain > 0) [piece, used] = [decodeStrict(rest.slice(0, plain)), plain];
    else if (rest[0] === "\xc0" && rest.length > 1) [piece, used] = ["\0", 2];
    else if (rest[0] === "\xed" && rest.length >= 6 && PAIR_HERE.test(rest)) {
      const bits = (i: number, mask: number): number => rest.charCodeAt(i) & mask;
      const codePoint = (bits(1, 0x0f) << 16) + (bits(2, 0x3f) << 10) + (bits(4, 0x0f) << 6) + bits(5, 0x3f) + 0x10000;
      [piece, used] = [String.fromCodePoint(codePoint), 6];
    } else [piece, used] = [decodeStrict(rest), rest.length];
    if (piece === undefined) return undefined;
    text += piece;
    rest = rest.slice(used);
  }
  return text;
}

/**
 * A byte string read as UTF-8, with the variants above if it holds bytes ED or C0.
 * @returns undefined if it is not valid.
 */
export function decodeUtf8(bytes: string): string | undefined {
  return /[\xed\xc0]/.test(bytes) ? decodeVariants(bytes) : decodeStrict(bytes);
}
