/** How a picture is turned: EXIF's orientation. Source: CIPA DC-008 (tag 0x0112). */
import { FormatError } from "../errors.ts";
import type { RgbImage } from "./image.ts";

/** A view of the bytes that refuses to be read beyond their end. */
export class Fields {
  private readonly view: DataView;

  constructor(
    private readonly file: string,
    readonly bytes: Uint8Array,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  uint(at: number, size: 1 | 2 | 3 | 4, little = false): number {
    if (at < 0 || at + size > this.bytes.length)
      throw new FormatError(this.file, `ends inside its header, at byte ${this.bytes.length}; it is truncated`);
    if (size === 3) return this.uint(at, 2, true) + 65536 * this.uint(at + 2, 1); // WebP's, little-endian
    return size === 1 ? this.view.getUint8(at) : size === 2 ? this.view.getUint16(at, little) : this.view.getUint32(at, little);
  }

  text(at: number, length: number): string {
    return String.fromCharCode(...this.bytes.subarray(at, at + length));
  }
}

/** As stored: what a picture without EXIF has. */
export const UPRIGHT: Orientation = { value: 1, at: undefined };

export interface Orientation {
  /** 1 as stored; 2 to 4 mirrored or upside down; 5 to 8 with rows and columns exchanged. */
  readonly value: number;
  /** The byte that holds it; undefined if none does. */
  readonly at: number | undefined;
}

/**
 * The orientation that an EXIF block gives.
 * @param start of the block, a TIFF file, by some writers after "Exif\0\0"
 * @param end behind it
 */
export function exifOrientation(file: string, bytes: Uint8Array, start: number, end: number): Orientation {
  const begin = bytes[start] === 0x45 && bytes[start + 1] === 0x78 ? start + 6 : start;
  const fields = new Fields(file, bytes.subarray(begin, end));
  if (fields.length < 8) return UPRIGHT;
  const little = fields.text(0, 2) === "II";
  const directory = fields.uint(4, 4, little);
  if (directory + 2 > fields.length) return UPRIGHT;
  const count = fields.uint(directory, 2, little);
  for (let i = 0; i < count; i++) {
    const entry = directory + 2 + 12 * i;
    if (entry + 12 > fields.length) return UPRIGHT;
    if (fields.uint(entry, 2, little) !== 0x0112) continue;
    const value = fields.uint(entry + 8, 2, little);
    return value >= 1 && value <= 8 ? { value, at: begin + entry + (little ? 8 : 9) } : UPRIGHT;
  }
  return UPRIGHT;
}

/** A picture turned as its EXIF orientation says. Source: Pillow, ImageOps.exif_transpose. */
export function oriented({ data, width, height }: RgbImage, orientation: number): RgbImage {
  if (orientation === 1) return { data, width, height };
  const exchanged = orientation >= 5;
  const [w, h] = exchanged ? [height, width] : [width, height];
  const out = new Uint8Array(data.length);
  const right = orientation === 2 || orientation === 3 || orientation === 7 || orientation === 8; // stored columns run backwards
  const bottom = orientation === 3 || orientation === 4 || orientation === 6 || orientation === 7; // stored rows run backwards
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const [column, row] = exchanged ? [y, x] : [x, y];
      const from = ((bottom ? height - 1 - row : row) * width + (right ? width - 1 - column : column)) * 3;
      const to = (y * w + x) * 3;
      for (let c = 0; c < 3; c++) out[to + c] = data[from + c]!;
    }
  }
  return { data: out, width: w, height: h };
}
