// Does a text look like mojibake (UTF-8 that was decoded with a single-byte encoding)? Follows the published heuristic of
// ftfy 6.1.1 (badness.py, R. Speer, Apache-2.0): some 400 characters occur in mojibake; put into categories, some
// neighbourhoods of them hardly ever occur in real text. The categories and pairs are ftfy's; this expression of them is ours.

// Contents of a regular expression's character class each, so `-` between two characters is a range.
const common = "\\xa0\\xad´·–—―’…";
const c1 = "\\x80-\\x9f";
const bad = "¤¦§¨ª¬¯¶¸ºƒˆˇ˘˛˜†‡‰⌐◊\\ufffd";
const currency = "¢£¥₧€";
const opening = "¡©«¿΄΅‘‚“„•‹\\uf8ff";
const closing = "®»˝”›™";
const numeric = "±²³µ¹¼½¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥";
const kaomoji = "°Ò-ÖÙ-Üò-öø-üŐ";
const upperAccented = "À-ÑØÜÝĂĄĆČĎĐĘĚĞİĹĽŁŃŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ";
const lowerAccented = "ß-ñüăąćčďđęěğĺľłœŕśşšťźżžґﬁﬂ";
const upperCommon = "ÞΆΈΉΊΌΎΏΑ-ΫЁ-Я";
const lowerCommon = "ά-ωа-џ";
const box = "│┌┐┘├┤┬┼═-╬▀▄█▌▐-▓";

/** What Python's `\s` matches: unlike JavaScript's it has U+001C..1F and U+0085, and not U+FEFF. */
export const PYTHON_SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const accented = lowerAccented + upperAccented;
const symbols = accented + box + opening + closing + currency + numeric;
/** What may follow Ø and Ù in Arabic read as Windows-1252. */
const arabicTail = common + currency + bad + numeric + opening + "ŸŠ®°µ»";
/** What stands between two lead bytes of Cyrillic or Greek read as Windows-1251 or -1253. */
const between = c1 + bad + opening + closing + currency + "°";

// Each row is a sequence of classes; the text is bad if any sequence occurs.
const sequences: readonly (readonly string[])[] = [
  [c1],
  [bad + symbols, bad],
  ["a-zA-Z", lowerCommon + upperCommon, bad],
  [bad, symbols],
  [lowerAccented + lowerCommon + box + closing + currency + numeric, upperAccented],
  [box + closing + currency + numeric, lowerAccented],
  [lowerAccented + box + closing, currency],
  [PYTHON_SPACE, upperAccented, currency],
  [upperAccented + box, numeric],
  [accented + box + currency + closing, opening, numeric],
  [accented + currency + numeric + box, closing, opening],
  [currency + numeric + box, opening],
  ["a-z", upperAccented, opening + currency],
  [box, kaomoji],
  [accented + currency + numeric + opening + closing, box],
  [box, closing],
  [accented, closing, "\\p{L}\\p{N}_"],
  ["Œœ", "^A-Za-z"], // the ligature stands before a Latin letter in real words
  ["ÂÃÎÐ", "€Šš¢£Ÿž\\xa0\\xad®©°·»" + opening + closing + "–—´"], // Windows-1252 pairs
  ["×", "²³"],
  ["ØÙ", arabicTail, "ØÙ", arabicTail],
  ["à", "²µ¹¼½¾"], // South Asian scripts as Windows-1252
  ["√", "±∂†≠®™´≤≥¥µø"], // Mac Roman from here
  ["≈", "°¢"],
  ["‚", "Ä", "ìîïòôúùû†°¢π"],
  ["‚", "âó", "àä°ê"],
  ["в", "Ђ"], // U+2000..203F as Windows-1251
  ["ВГРС", between + "µ", "ВГРС"],
  ["Г", "ў", "В", "Ђ", "В", "^\\n", "A-Za-z "], // Windows-1251 over Windows-1252
  ["Ã", "\\xa0¡"], // à, á and the no-break space itself
  ["a-z.,?!" + closing, "Â", " " + opening + closing],
  ["β", "€", "™\\xa0Ά\\xad®°"], // U+2000..203F as Windows-1253
  ["ΒΓΞΟ", between, "ΒΓΞΟ"],
];

const BADNESS = new RegExp(
  [...sequences.map((row) => row.map((members) => `[${members}]`).join("")), `[a-z][${PYTHON_SPACE}]?[ÃÂ][ ]`, "^[ÃÂ][ ]"].join("|"),
  "u",
);

/** Whether the text holds a sequence of characters that is much more likely mojibake than meant (ftfy 6.1.1, `is_bad`). */
export function isBad(text: string): boolean {
  return BADNESS.test(text);
}
