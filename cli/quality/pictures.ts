import { FormatError, quote } from "../../engine/formats/errors.ts";
import { joinPath } from "../../engine/formats/file-system.ts";
import type { PictureFile } from "../../engine/metrics/quality/kinds.ts";
import { decodePicture } from "../../engine/platform/picture/decode-picture.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles, readBytes } from "../../engine/platform/node-files.ts";

/** Endings that the benchmark takes for pictures, in small letters only. Source: T2IBenchmark loaders.py:144-153 */
const ENDINGS = ["bmp", "jpg", "jpeg", "pgm", "png", "ppm", "tif", "tiff", "webp"];

/**
 * The pictures in a folder and those below it, as T2IBenchmark finds them. EXIF's orientation does not count, as it does not there.
 * @param warn told of pictures that the benchmark passes over, since their endings are in capitals
 * @throws FormatError for a folder that is not there or holds no picture
 */
export async function picturesIn(name: string, warn: (warning: string) => void): Promise<PictureFile[]> {
  const folder = resolvePath(name);
  const found: string[] = [];
  const walk = async (below: string): Promise<void> => {
    for (const entry of await nodeFiles.list(below === "" ? folder : joinPath(folder, below))) {
      if (entry.endsWith("/")) await walk(joinPath(below, entry.slice(0, -1)));
      else found.push(joinPath(below, entry));
    }
  };
  await walk("");
  const ending = (file: string): string => file.slice(file.lastIndexOf(".") + 1);
  const pictures = found.filter((file) => ENDINGS.includes(ending(file)));
  const capitals = found.filter((file) => !ENDINGS.includes(ending(file)) && ENDINGS.includes(ending(file).toLowerCase()));
  if (capitals.length > 0) {
    warn(
      `${name}: ${capitals.length} pictures such as ${quote(capitals[0]!)} are passed over, as the benchmark does for endings in capitals`,
    );
  }
  if (pictures.length === 0) throw new FormatError(folder, "holds no picture (.png, .jpg, .webp ...), nor does a folder in it");
  return pictures.map((file) => {
    const path = joinPath(folder, file);
    return { name: file, read: async () => decodePicture(path, await readBytes(path), { turned: false }) };
  });
}
