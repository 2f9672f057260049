import { decodeCoded } from "#picture-decoders";
import { FormatError, reason } from "../../formats/errors.ts";
import { readCodedHeader, unturned } from "../../formats/picture/coded.ts";
import { oriented } from "../../formats/picture/exif.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import { isPng } from "../../formats/picture/png.ts";
import { SNIFF_BYTES, describeBytes } from "../../formats/sniff.ts";
import { decodePng, decodeTurnedPng } from "./decode-png.ts";
import type { Rgba } from "./rgba.ts";

/**
 * A picture file as 8-bit RGB, by its content whatever its name: PNG, JPEG or WebP. It is turned as EXIF says, unless that is not wanted;
 * transparency is left out, as Pillow's convert("RGB") does.
 * @throws FormatError for a damaged file, and naming what it is for any other kind
 */
export async function decodePicture(
  file: string,
  bytes: Uint8Array<ArrayBuffer>,
  { turned = true }: { readonly turned?: boolean } = {},
): Promise<RgbImage> {
  if (isPng(bytes)) return turned ? decodeTurnedPng(file, bytes) : decodePng(file, bytes);
  const header = readCodedHeader(file, bytes);
  if (!header) throw new FormatError(file, `is not a PNG, JPEG or WebP image: ${describeBytes(bytes.subarray(0, SNIFF_BYTES))}`);
  let picture: Rgba;
  try {
    picture = await decodeCoded(header.kind, unturned(bytes, header));
  } catch (error) {
    throw new FormatError(file, `is a damaged ${header.kind === "jpeg" ? "JPEG" : "WebP"}: ${reason(error)}`, { cause: error });
  }
  const { data: rgba, width, height } = picture;
  if (width !== header.width || height !== header.height)
    throw new FormatError(file, `is damaged: its header says ${header.width}x${header.height} pixels, but there are ${width}x${height}`);
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < data.length; from += 4) for (let c = 0; c < 3; c++) data[to++] = rgba[from + c]!;
  return turned ? oriented({ data, width, height }, header.orientation.value) : { data, width, height };
}
