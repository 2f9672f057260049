/** The chunks of a PNG file as they are read; apart from writing, which a page loads at once. PNG specification, sections 5 and 11.3.3. */
import { FormatError, quote } from "../errors.ts";
import { crc32 } from "../zip/bytes.ts";
import { inflate } from "../zip/inflate.ts";
import { PNG_SIGNATURE, type PngChunk } from "./png-chunks.ts";

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
