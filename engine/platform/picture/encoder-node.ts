import { PNG } from "pngjs";
import type { RgbImage } from "../../formats/picture/image.ts";

/** A picture as PNG, 8-bit RGB. */
export function encodePlainPng({ data, width, height }: RgbImage): Uint8Array<ArrayBuffer> {
  const picture = Object.assign(new PNG(), { width, height, data: Buffer.from(data.buffer, data.byteOffset, data.length) });
  const options = { colorType: 2, inputColorType: 2, inputHasAlpha: false, deflateLevel: 9, deflateStrategy: 0 } as const;
  return new Uint8Array(PNG.sync.write(picture, options));
}
