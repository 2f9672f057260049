import { blobSource, readAll } from "../../engine/formats/byte-source.ts";
import { decodePicture } from "../../engine/platform/picture/decode-picture.ts";
import { type Target, fitTarget } from "../../engine/run/target.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";

/** A dropped picture, made to fit a model. @throws FormatError if it is damaged, or no PNG, JPEG or WebP */
export async function readTarget({ name, file }: { readonly name: string; readonly file: Blob }, model: StableDiffusion): Promise<Target> {
  return fitTarget({ file: name, image: await decodePicture(name, await readAll(blobSource(name, file))) }, model);
}
