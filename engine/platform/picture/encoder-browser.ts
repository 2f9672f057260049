import { zlibSync } from "fflate";
import type { RgbImage } from "../../formats/picture/image.ts";
import { writeChunks } from "../../formats/picture/png-chunks.ts";

/**
 * A picture as PNG, 8-bit RGB. Reports put pictures into their text as they are rendered, and `encodePng` is synchronous for callers
 * too, but a browser's own encoder is not. So the lines are packed here, each as its difference to the one above.
 */
export function encodePlainPng({ data, width, height }: RgbImage): Uint8Array<ArrayBuffer> {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint16(8, 0x0802); // 8 bits, RGB
  const bytes = width * 3;
  const lines = new Uint8Array(height * (1 + bytes));
  for (let y = 0; y < height; y++) {
    const to = y * (1 + bytes);
    lines[to] = 2;
    for (let i = 0; i < bytes; i++) lines[to + 1 + i] = data[y * bytes + i]! - (y > 0 ? data[(y - 1) * bytes + i]! : 0);
  }
  return writeChunks([
    { type: "IHDR", data: new Uint8Array(header.buffer) },
    { type: "IDAT", data: new Uint8Array(zlibSync(lines, { level: 9 })) },
    { type: "IEND", data: new Uint8Array(0) },
  ]);
}
