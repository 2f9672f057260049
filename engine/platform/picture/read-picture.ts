import type { RgbImage } from "../../formats/picture/image.ts";
import { readBytes } from "../node-files.ts";
import { decodePicture } from "./decode-picture.ts";

/** A picture and the file it came from. */
export interface PictureFile {
  readonly file: string;
  readonly image: RgbImage;
}

/** A picture file: PNG, JPEG or WebP. @throws FormatError if it is missing, damaged or of another kind */
export async function readPicture(file: string): Promise<PictureFile> {
  return { file, image: await decodePicture(file, await readBytes(file)) };
}
