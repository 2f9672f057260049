/** PNG pictures: 8-bit RGB from and to files. */
import { zlibSync } from "fflate";
import { FormatError } from "../errors.ts";
import type { RgbImage } from "./image.ts";
import { inflate, PNG_SIGNATURE, readChunks, readTextChunks, textChunk, writeChunks, type PngChunk } from "./png-chunks.ts";
import { filteredLines, PNG_CHANNELS, type PngHeader, rawLength, rgbPixels } from "./png-pixels.ts";
import { describeBytes, SNIFF_BYTES } from "../sniff.ts";

/** Largest picture taken: 64 million pixels. */
const MAX_PIXELS = 2 ** 26;

/**
 * Decodes gray, palette, RGB and RGBA of any bit depth to 8-bit RGB, as Pillow's `Image.open(f).convert("RGB")`: transparency is
 * dropped, not blended, and of 16-bit samples the upper byte is taken.
 * @param file its name, for errors
 * @throws TypeError for other arguments; FormatError if the bytes are no PNG (saying what they look like), damaged, truncated, or claim
 * more than 2^26 pixels.
 */
export async function decodePng(file: string, bytes: Uint8Array): Promise<RgbImage> {
  if (typeof file !== "string" || !(bytes instanceof Uint8Array)) {
    const got = [file, bytes].map((value: unknown) => (value instanceof Uint8Array ? "bytes" : typeof value)).join(", ");
    throw new TypeError(`decodePng(file, bytes) takes the file's name, for errors, and its bytes as a Uint8Array; got ${got}`);
  }
  if (!isPng(bytes)) throw new FormatError(file, `is no PNG image: ${describeBytes(bytes.subarray(0, SNIFF_BYTES))}`);
  const chunks = readChunks(file, bytes);
  const header = readHeader(file, chunks[0]);
  const { width, height } = header;
  const wanted = rawLength(header);
  const data = chunks.filter((chunk) => chunk.type === "IDAT");
  const packed = data.reduce((sum, chunk) => sum + chunk.data.length, 0);
  // Deflate shrinks at most 1032 times, so a larger claim would only make us allocate for nothing.
  if (wanted > packed * 1032 + 64) {
    throw new FormatError(
      file,
      `PNG claims ${width}x${height} pixels, more than its ${packed} bytes of image data can hold; the file is corrupt or truncated`,
    );
  }
  const raw = await inflate(file, join(data), wanted);
  if (raw.length !== wanted) {
    throw new FormatError(
      file,
      `PNG of ${width}x${height} pixels unpacks to ${raw.length} bytes instead of ${wanted}; the file is corrupt or truncated`,
    );
  }
  return { data: rgbPixels(file, header, raw, chunks.find((chunk) => chunk.type === "PLTE")?.data), width, height };
}

/** Whether bytes begin with PNG's signature. */
export function isPng(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && PNG_SIGNATURE.every((byte, i) => bytes[i] === byte);
}

function readHeader(file: string, chunk: PngChunk | undefined): PngHeader {
  if (chunk?.type !== "IHDR" || chunk.data.length !== 13) throw new FormatError(file, "PNG has no proper header");
  const view = new DataView(chunk.data.buffer);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colorType] = [view.getUint8(8), view.getUint8(9)];
  if (width < 1 || height < 1 || width * height > MAX_PIXELS) {
    throw new FormatError(file, `PNG of ${width}x${height} pixels; 1 to ${MAX_PIXELS} pixels are allowed`);
  }
  if (PNG_CHANNELS[colorType] === undefined || ![1, 2, 4, 8, 16].includes(depth)) {
    throw new FormatError(file, `PNG has an unknown colour type ${colorType} or bit depth ${depth}`);
  }
  return { width, height, depth, colorType, interlaced: view.getUint8(12) === 1 };
}

function join(chunks: readonly PngChunk[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.data.length, 0));
  let at = 0;
  for (const { data } of chunks) {
    out.set(data, at);
    at += data.length;
  }
  return out;
}

/**
 * Encodes an 8-bit RGB picture. The same picture and texts give the same bytes.
 * @param texts written as text chunks before the image data, such as the parameters it was generated with.
 * @throws RangeError if the data does not fill the size, or a keyword is not allowed.
 */
export function encodePng(image: RgbImage, texts: Readonly<Record<string, string>> = {}): Uint8Array<ArrayBuffer> {
  const { width, height, data } = image;
  if (data.length !== width * height * 3 || data.length === 0) {
    throw new RangeError(`encodePng: ${width}x${height} pixels need ${width * height * 3} bytes, got ${data.length}`);
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint16(8, 0x0802); // 8 bits, RGB
  const packed = zlibSync(filteredLines(width, height, data), { level: 9 });
  return writeChunks([
    { type: "IHDR", data: new Uint8Array(header.buffer) },
    ...Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text)),
    { type: "IDAT", data: new Uint8Array(packed) },
    { type: "IEND", data: new Uint8Array(0) },
  ]);
}

/** The texts in a PNG by keyword (tEXt, iTXt, zTXt). @throws FormatError if it is no PNG or damaged. */
export async function readPngTexts(file: string, bytes: Uint8Array): Promise<Map<string, string>> {
  if (!isPng(bytes)) throw new FormatError(file, `is no PNG image: ${describeBytes(bytes.subarray(0, SNIFF_BYTES))}`);
  return readTextChunks(file, readChunks(file, bytes));
}
