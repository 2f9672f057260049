/**
 * The pixels of a PNG: scanline filters, interlacing, sample depths and palettes. Source: PNG specification, third edition (W3C), sections
 * 7 to 9.
 */
import { FormatError } from "../errors.ts";

export interface PngHeader {
  readonly width: number;
  readonly height: number;
  /** Bits of a sample: 1, 2, 4, 8 or 16. */
  readonly depth: number;
  /** 0 gray, 2 RGB, 3 palette, 4 gray with alpha, 6 RGBA. */
  readonly colorType: number;
  readonly interlaced: boolean;
}

/** Samples of a pixel by colour type. */
export const PNG_CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** Where the pixels of one pass lie in the picture. */
interface Pass {
  readonly left: number;
  readonly top: number;
  readonly stepX: number;
  readonly stepY: number;
  readonly width: number;
  readonly height: number;
}

/** Adam7: left, top, step across, step down of the seven passes. */
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] as const;

function passesOf({ width, height, interlaced }: PngHeader): Pass[] {
  if (!interlaced) return [{ left: 0, top: 0, stepX: 1, stepY: 1, width, height }];
  return ADAM7.map(([left, top, stepX, stepY]) => ({
    left,
    top,
    stepX,
    stepY,
    width: Math.ceil((width - left) / stepX),
    height: Math.ceil((height - top) / stepY),
  })).filter((p) => p.width > 0 && p.height > 0);
}

function rowBytes(header: PngHeader, width: number): number {
  return Math.ceil((width * PNG_CHANNELS[header.colorType]! * header.depth) / 8);
}

/** Bytes of all scanlines with their filter bytes: what the image data unpacks to. */
export function rawLength(header: PngHeader): number {
  return passesOf(header).reduce((sum, { width, height }) => sum + height * (1 + rowBytes(header, width)), 0);
}

/**
 * 8-bit RGB from unpacked scanlines (changed in place), as Pillow's `convert("RGB")`: transparency is dropped, and of 16-bit samples the
 * upper byte is taken.
 * @param palette PLTE's bytes, for colour type 3
 * @throws FormatError for a filter that does not exist, or a palette that is missing or too short
 */
export function rgbPixels(file: string, header: PngHeader, raw: Uint8Array, palette: Uint8Array | undefined): Uint8Array<ArrayBuffer> {
  const { width, height, depth, colorType } = header;
  const channels = PNG_CHANNELS[colorType]!;
  const pixelBytes = Math.max(1, (channels * depth) >> 3);
  const out = new Uint8Array(width * height * 3);
  if (colorType === 3 && !palette) throw new FormatError(file, "PNG cannot be decoded: its palette is missing");
  const [firstGreen, firstBlue] = channels >= 3 ? [1, 2] : [0, 0];
  const scale = colorType === 3 ? 1 : 255 / (2 ** Math.min(depth, 8) - 1);
  let at = 0;
  for (const pass of passesOf(header)) {
    const bytes = rowBytes(header, pass.width);
    let above: Uint8Array = new Uint8Array(bytes);
    for (let y = 0; y < pass.height; y++) {
      const filter = raw[at]!;
      const line = raw.subarray(at + 1, at + 1 + bytes);
      if (filter > 4) throw new FormatError(file, `PNG cannot be decoded: line ${y} has filter ${filter}, there are 0 to 4`);
      unfilter(filter, line, above, pixelBytes);
      for (let x = 0; x < pass.width; x++) {
        const to = ((pass.top + y * pass.stepY) * width + pass.left + x * pass.stepX) * 3;
        const first = sample(line, x * channels, depth);
        if (colorType === 3) {
          if (first * 3 + 3 > palette!.length) {
            throw new FormatError(
              file,
              `PNG cannot be decoded: a pixel has colour ${first}, but the palette has ${Math.floor(palette!.length / 3)}`,
            );
          }
          out.set(palette!.subarray(first * 3, first * 3 + 3), to);
        } else {
          out[to] = first * scale;
          out[to + 1] = sample(line, x * channels + firstGreen, depth) * scale;
          out[to + 2] = sample(line, x * channels + firstBlue, depth) * scale;
        }
      }
      above = line;
      at += 1 + bytes;
    }
  }
  return out;
}

/** Sample number `i` of a line; of 16 bits the upper 8. */
function sample(line: Uint8Array, i: number, depth: number): number {
  if (depth === 8) return line[i]!;
  if (depth === 16) return line[2 * i]!;
  const bit = i * depth;
  return (line[bit >> 3]! >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
}

/** Undoes a line's filter in place. @param pixelBytes distance to the pixel on the left */
function unfilter(filter: number, line: Uint8Array, above: Uint8Array, pixelBytes: number): void {
  if (filter === 0) return;
  for (let i = 0; i < line.length; i++) {
    const left = i < pixelBytes ? 0 : line[i - pixelBytes]!;
    const up = above[i]!;
    const corner = i < pixelBytes ? 0 : above[i - pixelBytes]!;
    const predicted = filter === 1 ? left : filter === 2 ? up : filter === 3 ? (left + up) >> 1 : paeth(left, up, corner);
    line[i] = line[i]! + predicted;
  }
}

function paeth(left: number, up: number, corner: number): number {
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
}

/**
 * Scanlines of an 8-bit RGB picture with, for each, the filter whose residues have the least sum (the specification's own heuristic,
 * section 12.7).
 */
export function filteredLines(width: number, height: number, rgb: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = width * 3;
  const out = new Uint8Array(height * (1 + bytes));
  const trials = Array.from({ length: 5 }, () => new Uint8Array(bytes));
  const none = new Uint8Array(bytes);
  for (let y = 0; y < height; y++) {
    const line = rgb.subarray(y * bytes, (y + 1) * bytes);
    const above = y > 0 ? rgb.subarray((y - 1) * bytes, y * bytes) : none;
    const sums = [0, 0, 0, 0, 0];
    for (let i = 0; i < bytes; i++) {
      const [value, left, up, corner] = [line[i]!, i < 3 ? 0 : line[i - 3]!, above[i]!, i < 3 ? 0 : above[i - 3]!];
      for (let f = 0; f < 5; f++) {
        const residue =
          (value - (f === 0 ? 0 : f === 1 ? left : f === 2 ? up : f === 3 ? (left + up) >> 1 : paeth(left, up, corner))) & 255;
        trials[f]![i] = residue;
        sums[f]! += residue < 128 ? residue : 256 - residue;
      }
    }
    const best = sums.indexOf(Math.min(...sums));
    out[y * (1 + bytes)] = best;
    out.set(trials[best]!, y * (1 + bytes) + 1);
  }
  return out;
}
