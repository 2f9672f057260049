import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { decodePng } from "../../engine/formats/picture/png.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readBytes } from "../../engine/platform/node-files.ts";

/** A picture file. @throws FormatError if it is missing or no PNG */
export async function readTarget(name: string): Promise<{ file: string; image: RgbImage }> {
  const file = resolvePath(name);
  return { file, image: await decodePng(file, await readBytes(file)) };
}
