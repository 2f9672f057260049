import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { decodePicture } from "../../engine/platform/picture/decode-picture.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readBytes } from "../../engine/platform/node-files.ts";

/** A picture file: PNG, JPEG or WebP. @throws FormatError if it is missing, damaged or of another kind */
export async function readTarget(name: string): Promise<{ file: string; image: RgbImage }> {
  const file = resolvePath(name);
  return { file, image: await decodePicture(file, await readBytes(file)) };
}
