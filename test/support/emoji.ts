import { readFileSync } from "node:fs";
import { type RgbImage, imagesToTensor } from "../../engine/formats/picture/image.ts";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import { type LoadOptions, loadStableDiffusion } from "../../engine/loading/load.ts";
import { type StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { testDevice } from "./device.ts";

/** The bundled model's folder. */
export const EMOJI = "assets/emoji";

let loaded: Promise<StableDiffusion> | undefined;

/** The bundled model on the test device; loaded once per test file, unless it is changed. */
export async function emojiModel(options?: LoadOptions): Promise<StableDiffusion> {
  const device = await testDevice();
  if (options) return loadStableDiffusion(device, { files: nodeFiles, folder: EMOJI }, options);
  loaded ??= loadStableDiffusion(device, { files: nodeFiles, folder: EMOJI });
  return loaded;
}

/** A picture of the bundled data set. */
export async function churchPicture(caseNumber: number): Promise<RgbImage> {
  const path = `${EMOJI}/dataset/church/imgs/${caseNumber}_0.png`;
  return decodePng(path, readFileSync(path));
}

/** The same as a target, [1, 3, 64, 64] in [-1, 1]. */
export async function churchTarget(caseNumber: number): Promise<NDArray> {
  return imagesToTensor([await churchPicture(caseNumber)]);
}
