import { decodePlainPng } from "#picture-decoders";
import { FormatError, reason } from "../../formats/errors.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import { oriented } from "../../formats/picture/exif.ts";
import { plainPng } from "../../formats/picture/png.ts";

/**
 * Decodes PNG of any colour type and bit depth to 8-bit RGB, as Pillow's `Image.open(f).convert("RGB")`: transparency is dropped, not
 * blended; gamma and profiles do not count; of 16-bit colours the upper byte is taken, and 16-bit grey is cut off at 255.
 * @param file its name, for errors
 * @throws TypeError for other arguments; FormatError if the bytes are no PNG (saying what they look like), damaged, truncated, or claim
 * more than 2^26 pixels.
 */
export async function decodePng(file: string, bytes: Uint8Array): Promise<RgbImage> {
  return decode(file, bytes, false);
}

/** The same, turned as EXIF's orientation says: Pillow's ImageOps.exif_transpose. @throws as `decodePng` */
export function decodeTurnedPng(file: string, bytes: Uint8Array): Promise<RgbImage> {
  return decode(file, bytes, true);
}

async function decode(file: string, bytes: Uint8Array, turned: boolean): Promise<RgbImage> {
  if (typeof file !== "string" || !(bytes instanceof Uint8Array)) {
    const got = [file, bytes].map((value: unknown) => (value instanceof Uint8Array ? "bytes" : typeof value)).join(", ");
    throw new TypeError(`decodePng(file, bytes) takes the file's name, for errors, and its bytes as a Uint8Array; got ${got}`);
  }
  const png = await plainPng(file, bytes);
  let rgba: ArrayLike<number>;
  try {
    rgba = (await decodePlainPng(png.bytes, png.depth)).data;
  } catch (error) {
    throw new FormatError(file, `PNG cannot be decoded: ${reason(error)}`, { cause: error });
  }
  const image = png.rgb(rgba);
  return turned ? oriented(image, png.orientation) : image;
}
