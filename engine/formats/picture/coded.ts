/**
 * Headers of JPEG and WebP files: how large the picture is, how it is turned, and whether it is of a kind that is read.
 * Source: ITU-T T.81 (markers), RFC 9649 (WebP).
 */
import { FormatError } from "../errors.ts";
import { Fields, type Orientation, UPRIGHT, exifOrientation } from "./exif.ts";
import { MAX_PIXELS } from "./image.ts";

export type CodedKind = "jpeg" | "webp";

export interface CodedHeader {
  readonly kind: CodedKind;
  /** As stored, before it is turned. */
  readonly width: number;
  readonly height: number;
  readonly orientation: Orientation;
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
  let orientation = UPRIGHT;
  for (let at = 2; ;) {
    const marker = fields.uint(at, 2);
    if (marker === 0xffff) {
      at++; // fill bytes
      continue;
    }
    if (marker >> 8 !== 0xff) throw new FormatError(file, `is a damaged JPEG: a marker is expected at byte ${at}`);
    const length = fields.uint(at + 2, 2);
    if (marker === 0xffe1 && fields.text(at + 4, 6) === "Exif\0\0")
      orientation = exifOrientation(file, fields.bytes, at + 10, at + 2 + length);
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
  let orientation = UPRIGHT;
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
    } else if (name === "EXIF") orientation = exifOrientation(file, fields.bytes, body, body + length);
    at = body + length + (length % 2);
  }
  if (!size) throw new FormatError(file, "is a WebP without a picture");
  return { kind: "webp", ...size, orientation };
}

/** The file as one whose pixels stand upright: some decoders turn them, others do not. */
export function unturned(bytes: Uint8Array<ArrayBuffer>, { orientation: { at } }: CodedHeader): Uint8Array<ArrayBuffer> {
  return at === undefined ? bytes : bytes.with(at, 1);
}
