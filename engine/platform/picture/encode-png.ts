import { encodePlainPng } from "#png-encoder";
import type { RgbImage } from "../../formats/picture/image.ts";
import { withTexts } from "../../formats/picture/png-chunks.ts";

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
  return withTexts(encodePlainPng(image), texts);
}
