/** The chunks of a PNG file as they are written: framing, CRC, text. PNG specification, third edition (W3C), sections 5 and 11.3.3. */
import { quote } from "../errors.ts";
import { crc32, joined } from "../zip/bytes.ts";

export interface PngChunk {
  readonly type: string;
  readonly data: Uint8Array<ArrayBuffer>;
}

export const PNG_SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** The file made of these chunks. */
export function writeChunks(chunks: readonly PngChunk[]): Uint8Array<ArrayBuffer> {
  return joined([PNG_SIGNATURE, ...chunks.map(chunkBytes)]);
}

function chunkBytes({ type, data }: PngChunk): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
  out.set(data, 8);
  view.setUint32(8 + data.length, crc32(out.subarray(4, 8 + data.length)));
  return out;
}

/** A PNG with texts by keyword put behind its header. @throws RangeError for a keyword that is not allowed */
export function withTexts(png: Uint8Array<ArrayBuffer>, texts: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
  const headerEnd = PNG_SIGNATURE.length + 12 + 13;
  const chunks = Object.entries(texts).map(([keyword, text]) => chunkBytes(textChunk(keyword, text)));
  return joined([png.subarray(0, headerEnd), ...chunks, png.subarray(headerEnd)]);
}

/**
 * A tEXt chunk, or iTXt (UTF-8) if the text leaves Latin-1.
 * @throws RangeError unless the keyword has 1 to 79 printable Latin-1 characters.
 */
export function textChunk(keyword: string, text: string): PngChunk {
  // Printable Latin-1 without a leading, trailing or doubled space.
  if (!/^[\x21-\x7e\xa1-\xff]+( [\x21-\x7e\xa1-\xff]+)*$/.test(keyword) || keyword.length > 79) {
    throw new RangeError(`PNG text keyword ${quote(keyword)} should have 1 to 79 printable Latin-1 characters`);
  }
  const narrow = /^[\n\x20-\x7e\xa1-\xff]*$/.test(text);
  const body = narrow ? Uint8Array.from(text, (character) => character.charCodeAt(0)) : new TextEncoder().encode(text);
  const head = Uint8Array.from([...keyword, ...(narrow ? "\0" : "\0\0\0\0\0")], (character) => character.charCodeAt(0));
  const data = new Uint8Array(head.length + body.length);
  data.set(head);
  data.set(body, head.length);
  return { type: narrow ? "tEXt" : "iTXt", data };
}
