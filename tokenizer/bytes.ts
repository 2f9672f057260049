// The byte alphabet of byte-level BPE: each byte has one printable character, so that vocabulary files hold readable text.

/** The 256 bytes in the order of CLIP's vocabulary: the printable ones of Latin-1, then the rest. */
const ORDER: readonly number[] = [
  ...range(0x21, 0x7e),
  ...range(0xa1, 0xac),
  ...range(0xae, 0xff),
  ...range(0, 0x20),
  ...range(0x7f, 0xa0),
  0xad,
];

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** The symbols in vocabulary order: Latin-1's printable characters stand for themselves, U+0100 and on for the others. */
export const BYTE_SYMBOLS: readonly string[] = (() => {
  let next = 0x100;
  return ORDER.map((byte, i) => String.fromCharCode(i < 188 ? byte : next++));
})();

const symbolOfByte: readonly string[] = ORDER.reduce<string[]>((table, byte, i) => {
  table[byte] = BYTE_SYMBOLS[i]!;
  return table;
}, []);
const byteOfSymbol = new Map(symbolOfByte.map((symbol, byte) => [symbol, byte]));

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The symbols of a text's UTF-8 bytes, one each. */
export function symbolsOf(text: string): string[] {
  return Array.from(encoder.encode(text), (byte) => symbolOfByte[byte]!);
}

/**
 * The text whose UTF-8 bytes the symbols stand for. Each invalid sequence gives U+FFFD, as Python's `errors="replace"`.
 * A character outside the alphabet, which only an unusual vocabulary holds, stands for itself.
 */
export function textOf(symbols: string): string {
  const bytes: number[] = [];
  for (const symbol of symbols) {
    const byte = byteOfSymbol.get(symbol);
    if (byte === undefined) bytes.push(...encoder.encode(symbol));
    else bytes.push(byte);
  }
  return decoder.decode(Uint8Array.from(bytes));
}
