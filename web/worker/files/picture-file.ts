import { readAll, blobSource } from "../../../engine/formats/byte-source.ts";
import { FormatError, reason } from "../../../engine/formats/errors.ts";
import type { RgbImage } from "../../../engine/formats/picture/image.ts";
import { decodePng, isPng } from "../../../engine/formats/picture/png.ts";

/**
 * A picture file as 8-bit RGB: PNG by our own decoder, so that it is the same as in Node, anything else by the browser's.
 * @throws FormatError if it is not a picture or damaged
 */
export async function readPictureFile(name: string, file: Blob): Promise<RgbImage> {
  const bytes = await readAll(blobSource(name, file));
  if (isPng(bytes)) return decodePng(name, bytes);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch (error) {
    throw new FormatError(name, `is not a picture that this browser can read: ${reason(error)}`, { cause: error });
  }
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < data.length; from += 4) for (let c = 0; c < 3; c++) data[to++] = rgba[from + c]!;
  return { data, width, height };
}
