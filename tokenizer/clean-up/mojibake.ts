// Undoes mojibake: text that was UTF-8 but was decoded with a single-byte encoding. Follows the behaviour of
// `fix_encoding` of ftfy 6.1.1 (R. Speer, Apache-2.0) with its default settings.
import { isBad } from "./badness.ts";
import { CHARMAPS, encodeCharmap } from "./charmaps.ts";
import { decodeUtf8, replaceLossySequences, restoreByteA0 } from "./utf8-repair.ts";

// Characters by the byte they stand for in some Latin-1-like encoding: lead bytes of 2, 3 and 4-byte sequences, continuation bytes.
const leadOf2 = "Â-ßĂĆČĎĐĘĚĞİĹŃŇŐŘŞŢŮŰΒ-ΡΣ-ίВ-Я";
const leadOf3 = "à-ïăćčďęěĺŕΰ-οа-п";
const leadOf4 = "ðóđğπσру";
const continuationStrict = "\\x80-¿ĄąĽľŁłŒœŚśŞ-šŤťŸ-žƒˆˇ˘˛˜˝΄΅ΆΈΉΊΌΎΏЁ-ЌЎЏё-ќўџҐґ†‡•‰‹›€№™";
/** With the dashes, quotes, ellipsis and space that also occur beside mojibake in their own right. */
const continuation = continuationStrict + " –—―‘’‚“”„…";

// A run of what looks like UTF-8; not in the middle of a longer garble, where fixing a few characters makes it worse.
const UTF8_RUN = new RegExp(
  `(?<![${continuationStrict}])(?:[${leadOf2}][${continuation}]|[${leadOf3}][${continuation}]{2}|[${leadOf4}][${continuation}]{3})+`,
  "gu",
);

const C1_CONTROL = /[\x80-\x9f]/;
const windows1252 = CHARMAPS[1]!.decode;

/** C1 controls replaced by what their bytes are in Windows-1252, as web browsers do (five stay as they are). */
export function fixC1Controls(text: string): string {
  return text.replace(/[\x80-\x9f]/g, (control) => windows1252[control.charCodeAt(0)]!);
}

/** Fixes the runs inside a text that look like UTF-8 and are bad on their own. */
function decodeInconsistentUtf8(text: string): string {
  return text.replace(UTF8_RUN, (run) => (run.length < text.length && isBad(run) ? fixEncoding(run) : run));
}

function fixEncodingOnce(text: string): string {
  if (/^[\0-\x7f]*$/.test(text) || !isBad(text)) return text;
  for (const map of CHARMAPS) {
    const encoded = encodeCharmap(map, text);
    if (encoded === undefined) continue;
    const restored = restoreByteA0(encoded);
    const decoded = decodeUtf8(map.lossy ? replaceLossySequences(restored) : restored);
    if (decoded !== undefined) return decoded;
  }
  const inconsistent = decodeInconsistentUtf8(text);
  if (inconsistent !== text) return inconsistent;
  // Latin-1 with C1 controls was meant as Windows-1252; with other characters about, the controls are the only thing to mend.
  // Both come to the same replacement, because the five unassigned bytes keep their controls either way.
  return C1_CONTROL.test(text) ? fixC1Controls(text) : text;
}

/**
 * Text with its mojibake undone, layer by layer until nothing changes. Text that does not look bad is returned as it is.
 * Source: ftfy 6.1.1, `fix_encoding`, default settings.
 */
export function fixEncoding(text: string): string {
  for (;;) {
    const fixed = fixEncodingOnce(text);
    if (fixed === text) return text;
    text = fixed;
  }
}
