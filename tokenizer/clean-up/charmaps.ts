// Single-byte encodings that UTF-8 text is most often wrongly decoded with, as tables of their upper 128 characters.
// Windows code pages leave some bytes unassigned; as in web browsers those decode to the C1 control of the same number.

/** A single-byte encoding; bytes below 0x80 are ASCII, except that a lossy charmap gives byte 0x1A to U+FFFD. */
export interface Charmap {
  readonly name: string;
  /** Whether byte 0x1A stands for U+FFFD, a character already lost (the Windows code pages). */
  readonly lossy: boolean;
  /** Character (one UTF-16 unit) of each of the 256 bytes. */
  readonly decode: string;
  /** The inverse of `decode`. */
  readonly encode: ReadonlyMap<string, string>;
}

const LATIN1_UPPER = Array.from({ length: 128 }, (_, i) => String.fromCharCode(128 + i)).join("");

function charmap(name: string, lossy: boolean, upper: string): Charmap {
  const lower = Array.from({ length: 128 }, (_, i) => (lossy && i === 0x1a ? "\ufffd" : String.fromCharCode(i))).join("");
  const decode = lower + upper;
  const encode = new Map(Array.from(decode, (character, byte) => [character, String.fromCharCode(byte)]));
  return { name, lossy, decode, encode };
}

/** The encodings to try, in the order of ftfy 6.1.1. */
export const CHARMAPS: readonly Charmap[] = [
  charmap("latin-1", false, LATIN1_UPPER),
  charmap(
    "windows-1252",
    true,
    "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ\xa0¡¢£¤¥¦§¨©ª«¬\xad®¯°±²³´µ¶·¸¹º»¼½¾¿" +
      "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
  ),
  charmap(
    "windows-1251",
    true,
    "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\x98™љ›њќћџ\xa0ЎўЈ¤Ґ¦§Ё©Є«¬\xad®Ї°±Ііґµ¶·ё№є»јЅѕї" +
      "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
  ),
  charmap(
    "windows-1250",
    true,
    "€\x81‚\x83„…†‡\x88‰Š‹ŚŤŽŹ\x90‘’“”•–—\x98™š›śťžź\xa0ˇ˘Ł¤Ą¦§¨©Ş«¬\xad®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż" +
      "ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
  ),
  charmap(
    "windows-1253",
    true,
    "€\x81‚ƒ„…†‡\x88‰\x8a‹\x8c\x8d\x8e\x8f\x90‘’“”•–—\x98™\x9a›\x9c\x9d\x9e\x9f\xa0΅Ά£¤¥¦§¨©ª«¬\xad®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏ" +
      "ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ",
  ),
  charmap(
    "windows-1254",
    true,
    "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8d\x8e\x8f\x90‘’“”•–—˜™š›œ\x9d\x9eŸ\xa0¡¢£¤¥¦§¨©ª«¬\xad®¯°±²³´µ¶·¸¹º»¼½¾¿" +
      "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
  ),
  charmap(
    "iso-8859-2",
    false,
    "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f" +
      "\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\xadŽŻ°ą˛ł´ľśˇ¸šşťź˝žż" +
      "ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
  ),
  charmap(
    "macroman",
    false,
    "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø" +
      "¿¡¬√ƒ≈∆«»…\xa0ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\uf8ffÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
  ),
  charmap(
    "cp437",
    false,
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐" +
      "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\xa0",
  ),
];

/**
 * Text in a single-byte encoding as a byte string: one UTF-16 unit of 0..255 per byte, so that regular expressions apply.
 * @returns undefined where a character does not exist in the encoding.
 */
export function encodeCharmap(map: Charmap, text: string): string | undefined {
  let bytes = "";
  for (let i = 0; i < text.length; i++) {
    const byte = map.encode.get(text[i]!);
    if (byte === undefined) return undefined;
    bytes += byte;
  }
  return bytes;
}
