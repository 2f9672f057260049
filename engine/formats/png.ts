/** PNG pictures, through pngjs: the only file that knows it. */
import { PNG } from "pngjs";
import { FormatError, reason } from "./errors.ts";
import type { RgbImage } from "./image.ts";
import { inflate, PNG_SIGNATURE, readChunks, readTextChunks, textChunk, writeChunks, type PngChunk } from "./png-chunks.ts";
import { describeBytes, SNIFF_BYTES } from "./sniff.ts";

/** Largest picture taken: 64 million pixels. */
const MAX_PIXELS = 2 ** 26;

/** pngjs wants its own Buffer, which in a browser is part of its bundle and not a global. */
const pngBuffer = new PNG({ width: 1, height: 1 }).data.constructor as unknown as { from(data: ArrayBuffer, offset: number, length: number): PNG["data"] };

function toPngBuffer(bytes: Uint8Array<ArrayBuffer>): PNG["data"] {
  return pngBuffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Decodes gray, palette, RGB and RGBA of any bit depth to 8-bit RGB, as Pillow's `Image.open(f).convert("RGB")`: transparency is
 * dropped, not blended, and of 16-bit samples the upper byte is taken.
 * @throws FormatError if the bytes are no PNG (saying what they look like), damaged, truncated, or claim more than 2^26 pixels.
 */
export async function decodePng(file: string, bytes: Uint8Array): Promise<RgbImage> {
  if (!isPng(bytes)) throw new FormatError(file, `is no PNG image: ${describeBytes(bytes.subarray(0, SNIFF_BYTES))}`);
  const chunks = readChunks(file, bytes);
  const { width, height, depth, interlaced, rawBytes } = readHeader(file, chunks[0]);
  const data = chunks.filter((chunk) => chunk.type === "IDAT");
  const packed = data.reduce((sum, chunk) => sum + chunk.data.length, 0);
  // Deflate shrinks at most 1032 times, so a larger claim would only make us allocate for nothing.
  if (rawBytes > packed * 1032 + 64) throw new FormatError(file, `PNG claims ${width}x${height} pixels, more than its ${packed} bytes of image data can hold; the file is corrupt or truncated`);
  // pngjs bounds what it unpacks, except for interlaced images: find out beforehand.
  if (interlaced) await inflate(file, join(data), rawBytes);
  // Without the rest there is nothing optional to stumble over; transparency would change colours.
  const essential = writeChunks(chunks.filter((chunk) => ["IHDR", "PLTE", "IDAT", "IEND"].includes(chunk.type)));
  let decoded: PNG;
  try {
    decoded = PNG.sync.read(toPngBuffer(essential), { checkCRC: false, skipRescale: depth === 16 });
  } catch (error) {
    throw new FormatError(file, `PNG cannot be decoded: ${reason(error)}`, { cause: error });
  }
  const rgba: ArrayLike<number> = decoded.data;
  const shift = depth === 16 ? 8 : 0;
  const rgb = new Uint8Array(width * height * 3);
  if (rgba.length !== width * height * 4) throw new FormatError(file, `PNG holds ${rgba.length / 4} pixels instead of ${width}x${height}`);
  for (let from = 0, to = 0; to < rgb.length; from += 4) {
    rgb[to++] = rgba[from]! >> shift;
    rgb[to++] = rgba[from + 1]! >> shift;
    rgb[to++] = rgba[from + 2]! >> shift;
  }
  return { data: rgb, width, height };
}

/** Whether bytes begin with PNG's signature. */
export function isPng(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && PNG_SIGNATURE.every((byte, i) => bytes[i] === byte);
}

function readHeader(file: string, chunk: PngChunk | undefined): { width: number; height: number; depth: number; interlaced: boolean; rawBytes: number } {
  if (chunk?.type !== "IHDR" || chunk.data.length !== 13) throw new FormatError(file, "PNG has no proper header");
  const view = new DataView(chunk.data.buffer);
  const width = view.getUint32(0);
  const height = view.getUint32(4);
  const depth = view.getUint8(8);
  const interlaced = view.getUint8(12) === 1;
  const channels = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[view.getUint8(9)];
  if (width < 1 || height < 1 || width * height > MAX_PIXELS) throw new FormatError(file, `PNG of ${width}x${height} pixels; 1 to ${MAX_PIXELS} pixels are allowed`);
  if (channels === undefined || ![1, 2, 4, 8, 16].includes(depth)) throw new FormatError(file, `PNG has an unknown colour type ${view.getUint8(9)} or bit depth ${depth}`);
  // Each line has a filter byte; the seven passes of an interlaced image have at most 15/8 of the lines and pad each.
  const rawBytes = interlaced ? Math.ceil((width * height * channels * depth) / 8) + 4 * height + 4 * (width + 8) : height * (1 + Math.ceil((width * channels * depth) / 8));
  return { width, height, depth, interlaced, rawBytes };
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
  if (data.length !== width * height * 3 || data.length === 0) throw new RangeError(`encodePng: ${width}x${height} pixels need ${width * height * 3} bytes, got ${data.length}`);
  const png = new PNG({ width, height });
  png.data = toPngBuffer(data);
  const encoded = PNG.sync.write(png, { colorType: 2, inputColorType: 2, inputHasAlpha: false, bitDepth: 8 });
  const [header, ...rest] = readChunks("encoded PNG", new Uint8Array(encoded));
  return writeChunks([header!, ...Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text)), ...rest]);
}

/** The texts in a PNG by keyword (tEXt, iTXt, zTXt). @throws FormatError if it is no PNG or damaged. */
export async function readPngTexts(file: string, bytes: Uint8Array): Promise<Map<string, string>> {
  if (!isPng(bytes)) throw new FormatError(file, `is no PNG image: ${describeBytes(bytes.subarray(0, SNIFF_BYTES))}`);
  return readTextChunks(file, readChunks(file, bytes));
}
