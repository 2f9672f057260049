import type { RgbImage } from "../../engine/formats/picture/image.ts";
import type { Picture } from "../protocol.ts";

const HEADER_BYTES = 54;

/**
 * A picture for an <img>: an uncompressed 24-bit BMP, since it is made in no time and need not be small. An <img> and not a canvas, because
 * drawing on a canvas makes the page's main thread wait for a GPU that is busy with the attack. Source: BITMAPFILEHEADER and
 * BITMAPINFOHEADER of the Windows API.
 */
export function bitmapOf({ data, width, height }: RgbImage): Picture {
  const row = Math.ceil((width * 3) / 4) * 4;
  const bytes = new Uint8Array(HEADER_BYTES + row * height);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]); // "BM"
  view.setUint32(2, bytes.length, true);
  view.setUint32(10, HEADER_BYTES, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  for (let y = 0; y < height; y++) {
    let to = HEADER_BYTES + row * (height - 1 - y); // from the bottom up
    for (let from = y * width * 3; from < (y + 1) * width * 3; from += 3) {
      bytes[to++] = data[from + 2]!;
      bytes[to++] = data[from + 1]!;
      bytes[to++] = data[from]!;
    }
  }
  return { width, height, file: new Blob([bytes], { type: "image/bmp" }) };
}
