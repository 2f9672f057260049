/**
 * What is known of a PNG before its pixels are decoded. Decoders differ: in what they make of transparency, gamma, profiles, turned and
 * animated pictures and 16 bits, in what they forgive, and in how much memory they take for a small file. So the file is checked here,
 * and a decoder gets its lines of pixels alone, under a header by which all decoders give the same.
 * Source: PNG specification, third edition (W3C), sections 7, 8, 11.2.
 */
import { FormatError } from "../errors.ts";
import { joined } from "../zip/bytes.ts";
import { inflate } from "../zip/inflate.ts";
import { SNIFF_BYTES, describeBytes } from "../sniff.ts";
import { exifOrientation, UPRIGHT } from "./exif.ts";
import { MAX_PIXELS, type RgbImage } from "./image.ts";
import { PNG_SIGNATURE, type PngChunk, writeChunks } from "./png-chunks.ts";
import { readChunks, readTextChunks } from "./read-chunks.ts";

interface Header {
  readonly width: number;
  readonly height: number;
  /** Bits of a sample: 1, 2, 4, 8 or 16. */
  readonly depth: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA. */
  readonly colorType: number;
  readonly interlaced: boolean;
}

/** Samples of a pixel and allowed depths by colour type. */
const COLOR_TYPES: Readonly<Record<number, { readonly channels: number; readonly depths: readonly number[] }>> = {
  0: { channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { channels: 3, depths: [8, 16] },
  3: { channels: 1, depths: [1, 2, 4, 8] },
  4: { channels: 2, depths: [8, 16] },
  6: { channels: 4, depths: [8, 16] },
};

/** Adam7: left, top, step across, step down of the seven passes. */
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] as const;
const WHOLE = [[0, 0, 1, 1]] as const;

/** A checked picture, ready for a decoder. */
export interface PlainPng {
  readonly width: number;
  readonly height: number;
  /** EXIF's, 1 to 8. */
  readonly orientation: number;
  /** A PNG of header and image data only. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bits of its samples. Of 16 a decoder gives the upper 8. */
  readonly depth: number;
  /**
   * Takes what a decoder makes of `bytes`, width * height * 4 bytes R G B A, not premultiplied.
   * @throws FormatError for a colour that the palette does not have
   */
  readonly rgb: (rgba: ArrayLike<number>) => RgbImage;
}

/** Whether bytes begin with PNG's signature. */
export function isPng(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && PNG_SIGNATURE.every((byte, i) => bytes[i] === byte);
}

function chunksOf(file: string, bytes: Uint8Array): PngChunk[] {
  if (!isPng(bytes)) throw new FormatError(file, `is not a PNG image: ${describeBytes(bytes.subarray(0, SNIFF_BYTES))}`);
  return readChunks(file, bytes);
}

/** The texts in a PNG by keyword (tEXt, iTXt, zTXt). @throws FormatError if it is no PNG or damaged. */
export async function readPngTexts(file: string, bytes: Uint8Array): Promise<Map<string, string>> {
  return readTextChunks(file, chunksOf(file, bytes));
}

/**
 * Checks a PNG: every checksum, the header, and that its data unpacks to as many bytes as its size needs.
 * @throws FormatError if the bytes are no PNG (saying what they look like), damaged, truncated, or claim more than MAX_PIXELS.
 */
export async function plainPng(file: string, bytes: Uint8Array): Promise<PlainPng> {
  const chunks = chunksOf(file, bytes);
  const header = readHeader(file, chunks[0]);
  const { width, height, depth, colorType } = header;
  const packed = joined(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data));
  await checkLines(file, header, packed);
  const palette = chunks.find(({ type }) => type === "PLTE")?.data;
  const exif = chunks.find(({ type }) => type === "eXIf")?.data;
  if (colorType === 3 && !palette) throw new FormatError(file, "PNG cannot be decoded: its palette is missing");
  const [plainType, plainDepth] = plainKind(colorType, depth);
  const head = new Uint8Array(chunks[0]!.data);
  head.set([plainDepth, plainType], 8);
  return {
    width,
    height,
    orientation: exif ? exifOrientation(file, exif, 0, exif.length).value : UPRIGHT.value,
    bytes: writeChunks([{ type: "IHDR", data: head }, { type: "IDAT", data: packed }, { type: "IEND", data: new Uint8Array(0) }]),
    depth: plainDepth,
    rgb: (rgba) => ({ data: rgbOf(file, header, rgba, palette ?? new Uint8Array(0)), width, height }),
  };
}

/**
 * The colour type and depth by which a decoder reads the lines. A palette's indices are read as grey, and two bytes of 16-bit grey as grey
 * and alpha of 8 bits each: pixels of as many bits, so that filters and interlacing are the same, and nothing is left for a decoder to
 * round.
 */
function plainKind(colorType: number, depth: number): readonly [colorType: number, depth: number] {
  if (colorType === 3) return [0, depth];
  if (depth === 16 && colorType === 0) return [4, 8];
  if (depth === 16 && colorType === 4) return [6, 8];
  return [colorType, depth];
}

/**
 * As Pillow's convert("RGB"): transparency is dropped, of 16-bit samples the upper byte is taken, but 16-bit grey without alpha is cut off
 * at 255, which leaves it white but for its darkest.
 */
function rgbOf(
  file: string,
  { width, height, depth, colorType }: Header,
  rgba: ArrayLike<number>,
  palette: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(width * height * 3);
  const grey = colorType === 0 || colorType === 4;
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    const first = rgba[from]!;
    if (colorType === 3) {
      const color = (first * (2 ** depth - 1)) / 255;
      if (color * 3 + 3 > palette.length) {
        const colors = Math.floor(palette.length / 3);
        throw new FormatError(file, `PNG cannot be decoded: a pixel has colour ${color}, but the palette has ${colors}`);
      }
      for (let c = 0; c < 3; c++) data[to + c] = palette[color * 3 + c]!;
    } else {
      data[to] = colorType === 0 && depth === 16 ? (first > 0 ? 255 : rgba[from + 3]!) : first;
      data[to + 1] = grey ? data[to]! : rgba[from + 1]!;
      data[to + 2] = grey ? data[to]! : rgba[from + 2]!;
    }
  }
  return data;
}

function readHeader(file: string, chunk: PngChunk | undefined): Header {
  if (chunk?.type !== "IHDR" || chunk.data.length !== 13) throw new FormatError(file, "PNG has no proper header");
  const view = new DataView(chunk.data.buffer);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colorType, compression, filter, interlace] = [...chunk.data.subarray(8)] as [number, number, number, number, number];
  if (width < 1 || height < 1 || width * height > MAX_PIXELS) {
    throw new FormatError(file, `PNG of ${width}x${height} pixels; 1 to ${MAX_PIXELS} pixels are allowed`);
  }
  if (!COLOR_TYPES[colorType]?.depths.includes(depth)) {
    throw new FormatError(file, `PNG has an unknown colour type ${colorType} or bit depth ${depth}`);
  }
  if (compression !== 0 || filter !== 0 || interlace > 1) {
    throw new FormatError(file, `PNG has an unknown compression (${compression}), filter (${filter}) or interlacing (${interlace})`);
  }
  return { width, height, depth, colorType, interlaced: interlace === 1 };
}

/** @throws FormatError unless the data unpacks to all scanlines of the picture, each behind a filter that there is */
async function checkLines(file: string, header: Header, packed: Uint8Array<ArrayBuffer>): Promise<void> {
  const { width, height, depth, colorType } = header;
  const passes = (header.interlaced ? ADAM7 : WHOLE).map(([left, top, stepX, stepY]) => {
    const [across, down] = [Math.ceil((width - left) / stepX), Math.ceil((height - top) / stepY)];
    const line = 1 + Math.ceil((across * COLOR_TYPES[colorType]!.channels * depth) / 8);
    return { line, lines: across > 0 ? down : 0 };
  });
  const wanted = passes.reduce((sum, { line, lines }) => sum + line * lines, 0);
  // Deflate shrinks at most 1032 times, so a larger claim would only make us allocate for nothing.
  if (wanted > packed.length * 1032 + 64) {
    throw new FormatError(
      file,
      `PNG claims ${width}x${height} pixels, more than its ${packed.length} bytes of image data can hold; the file is corrupt or truncated`,
    );
  }
  const raw = await inflate(file, packed, wanted, "PNG data");
  if (raw.length !== wanted) {
    throw new FormatError(
      file,
      `PNG of ${width}x${height} pixels unpacks to ${raw.length} bytes instead of ${wanted}; the file is corrupt or truncated`,
    );
  }
  let at = 0;
  for (const { line, lines } of passes) {
    for (let y = 0; y < lines; y++, at += line) {
      if (raw[at]! > 4) throw new FormatError(file, `PNG cannot be decoded: line ${y} has filter ${raw[at]}, there are 0 to 4`);
    }
  }
}
