/** The chunks of a PNG file: framing, CRC, text. Source: PNG specification, third edition (W3C), sections 5 and 11.3.3. */
import { FormatError, quote } from "../errors.ts";
import { inflate, joined } from "../zip/inflate.ts";

export interface PngChunk {
  readonly type: string;
  readonly data: Uint8Array<ArrayBuffer>;
}

export const PNG_SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** CRC-32 (ISO 3309) of the given pieces one after the other. */
export function crc32(...pieces: Uint8Array[]): number {
  let c = 0xffffffff;
  for (const piece of pieces) for (const byte of piece) c = crcTable[(c ^ byte) & 255]! ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/**
 * All chunks in order, up to IEND. Bytes after it are ignored, as viewers do.
 * @throws FormatError if the file is cut off, damaged, or no PNG.
 */
export function readChunks(file: string, bytes: Uint8Array): PngChunk[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: PngChunk[] = [];
  for (let at = PNG_SIGNATURE.length; ; ) {
    const length = at + 12 <= bytes.length ? view.getUint32(at) : Infinity;
    if (at + 12 + length > bytes.length) throw new FormatError(file, `PNG ends inside a chunk at byte ${at}; the file is truncated`);
    const typeBytes = bytes.subarray(at + 4, at + 8);
    const type = String.fromCharCode(...typeBytes);
    const data = new Uint8Array(bytes.subarray(at + 8, at + 8 + length));
    if (!/^[A-Za-z]{4}$/.test(type)) {
      throw new FormatError(file, `PNG has a chunk of impossible type ${quote(type)} at byte ${at}; the file is corrupt`);
    }
    if (crc32(typeBytes, data) !== view.getUint32(at + 8 + length)) {
      throw new FormatError(file, `PNG chunk ${type} at byte ${at} fails its checksum; the file is corrupt`);
    }
    chunks.push({ type, data });
    if (type === "IEND") return chunks;
    at += 12 + length;
  }
}

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

/** Texts of tEXt, iTXt and zTXt chunks by keyword; the first of a doubled keyword. A compressed text may take 1 MiB. @throws FormatError */
export async function readTextChunks(file: string, chunks: readonly PngChunk[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const { type, data } of chunks) {
    if (type !== "tEXt" && type !== "iTXt" && type !== "zTXt") continue;
    const end = data.indexOf(0);
    if (end < 1) throw new FormatError(file, `PNG ${type} chunk has no keyword`);
    const keyword = latin1(data.subarray(0, end));
    if (!texts.has(keyword)) texts.set(keyword, await readText(file, type, data, end));
  }
  return texts;
}

async function readText(file: string, type: string, data: Uint8Array<ArrayBuffer>, end: number): Promise<string> {
  if (type === "tEXt") return latin1(data.subarray(end + 1));
  if (type === "zTXt") return latin1(await inflate(file, data.subarray(end + 2), 2 ** 20, "PNG text"));
  const languageEnd = data.indexOf(0, end + 3);
  const translatedEnd = languageEnd < 0 ? -1 : data.indexOf(0, languageEnd + 1);
  if (translatedEnd < 0) throw new FormatError(file, "PNG iTXt chunk is malformed");
  const body = data.subarray(translatedEnd + 1);
  return new TextDecoder().decode(data[end + 1] === 1 ? await inflate(file, body, 2 ** 20, "PNG text") : body);
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
