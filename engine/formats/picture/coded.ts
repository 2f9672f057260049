/**
 * Headers of JPEG and WebP files: how large the picture is, how it is turned, and whether it is of a kind that is read.
 * Source: ITU-T T.81 (markers), RFC 9649 (WebP), CIPA DC-008 (EXIF, orientation tag 0x0112).
 */
import { FormatError } from "../errors.ts";
import type { RgbImage } from "./image.ts";

export interface CodedHeader {
  readonly kind: "jpeg" | "webp";
  /** As stored, before it is turned. */
  readonly width: number;
  readonly height: number;
  /** EXIF's: 1 as stored; 2 to 4 mirrored or upside down; 5 to 8 with rows and columns exchanged. */
  readonly orientation: number;
}

/** Of pictures that are read, so that a small file cannot fill the memory: as for PNG. */
const MAX_PIXELS = 67_108_864;

/** A view of the bytes that refuses to be read beyond their end. */
class Fields {
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

/**
 * The header of a JPEG or WebP file; undefined for any other.
 * @throws FormatError for a damaged header, a picture that is too large, and kinds that are not read: CMYK, more than 8 bits, lossless
 * JPEG, animations
 */
export function readCodedHeader(file: string, bytes: Uint8Array): CodedHeader | undefined {
  const fields = new Fields(file, bytes);
  const jpeg = bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
  const webp = fields.text(0, 4) === "RIFF" && fields.text(8, 4) === "WEBP";
  if (!jpeg && !webp) return undefined;
  const header = jpeg ? jpegHeader(file, fields) : webpHeader(file, fields);
  const { width, height } = header;
  if (width * height > MAX_PIXELS || width === 0 || height === 0)
    throw new FormatError(file, `has ${width}x${height} pixels; 1 to ${MAX_PIXELS} pixels are allowed`);
  return header;
}

function jpegHeader(file: string, fields: Fields): CodedHeader {
  let orientation = 1;
  for (let at = 2; ;) {
    const marker = fields.uint(at, 2);
    if (marker === 0xffff) {
      at++; // fill bytes
      continue;
    }
    if (marker >> 8 !== 0xff) throw new FormatError(file, `is a damaged JPEG: a marker is expected at byte ${at}`);
    const length = fields.uint(at + 2, 2);
    if (marker === 0xffe1 && fields.text(at + 4, 6) === "Exif\0\0")
      orientation = exifOrientation(file, fields.bytes.subarray(at + 10, at + 2 + length));
    // SOF0 to SOF15, which are no DHT (C4), JPG (C8) or DAC (CC)
    if (marker >= 0xffc0 && marker <= 0xffcf && marker !== 0xffc4 && marker !== 0xffc8 && marker !== 0xffcc) {
      const [bits, height, width, components] = [
        fields.uint(at + 4, 1),
        fields.uint(at + 5, 2),
        fields.uint(at + 7, 2),
        fields.uint(at + 9, 1),
      ];
      if (marker !== 0xffc0 && marker !== 0xffc1 && marker !== 0xffc2)
        throw new FormatError(
          file,
          `is a JPEG of a kind that is not read (SOF${marker - 0xffc0}: lossless or arithmetic); save it as a baseline JPEG or as PNG`,
        );
      if (bits !== 8) throw new FormatError(file, `is a JPEG with ${bits} bits a channel; 8 are expected`);
      if (components === 4) throw new FormatError(file, "is a CMYK JPEG; save it in RGB");
      if (!endsWhole(fields.bytes)) throw new FormatError(file, "is a JPEG without its end; it is truncated");
      return { kind: "jpeg", width, height, orientation };
    }
    at += 2 + length;
  }
}

/** Whether an end marker stands behind the picture; what a camera appends may follow it. */
function endsWhole(bytes: Uint8Array): boolean {
  for (let at = bytes.length - 2; at > 1; at--) if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  return false;
}

function webpHeader(file: string, fields: Fields): CodedHeader {
  const said = fields.uint(4, 4, true) + 8;
  if (said > fields.length) throw new FormatError(file, `is a WebP of ${said} bytes of which ${fields.length} are there; it is truncated`);
  let size: { readonly width: number; readonly height: number } | undefined;
  let orientation = 1;
  for (let at = 12; at + 8 <= said;) {
    const [name, length] = [fields.text(at, 4), fields.uint(at + 4, 4, true)];
    const body = at + 8;
    if (name === "VP8X") {
      if (fields.uint(body, 1) & 2) throw new FormatError(file, "is an animated WebP; a single picture is expected");
      size = { width: 1 + fields.uint(body + 4, 3), height: 1 + fields.uint(body + 7, 3) };
    } else if (name === "VP8 ")
      size ??= { width: fields.uint(body + 6, 2, true) & 0x3fff, height: fields.uint(body + 8, 2, true) & 0x3fff };
    else if (name === "VP8L") {
      const bits = fields.uint(body + 1, 4, true);
      size ??= { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
    } else if (name === "EXIF") orientation = exifOrientation(file, fields.bytes.subarray(body, body + length));
    at = body + length + (length % 2);
  }
  if (!size) throw new FormatError(file, "is a WebP without a picture");
  return { kind: "webp", ...size, orientation };
}

/** The orientation that an EXIF block gives; 1 if it gives none. @param block a TIFF file, by some writers after "Exif\0\0" */
function exifOrientation(file: string, block: Uint8Array): number {
  const start = block[0] === 0x45 && block[1] === 0x78 ? 6 : 0;
  const fields = new Fields(file, block.subarray(start));
  if (fields.length < 8) return 1;
  const little = fields.text(0, 2) === "II";
  const directory = fields.uint(4, 4, little);
  if (directory + 2 > fields.length) return 1;
  const count = fields.uint(directory, 2, little);
  for (let i = 0; i < count; i++) {
    const entry = directory + 2 + 12 * i;
    if (entry + 12 > fields.length) return 1;
    if (fields.uint(entry, 2, little) !== 0x0112) continue;
    const value = fields.uint(entry + 8, 2, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
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
