import { type FileSystem, joinPath, readFile } from "../formats/file-system.ts";
import { type RgbImage, tensorToImages } from "../formats/picture/image.ts";
import { decodePng } from "../platform/picture/png-codec.ts";
import type { NDArray } from "../nn/array.ts";
import { Sampler, type SampleInputs, type SamplerShape } from "../diffusion/sampler.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { Check } from "./check.ts";
import type { Golden } from "./golden.ts";
import { channelsLast } from "./layout.ts";

type SampleRequest = Omit<SampleInputs, "drawNoise" | "onStep" | "signal"> & Pick<SamplerShape, "guidance" | "sld">;

/** The latents after every step by the product's own sampler, scaled as the UNet sees them; those of its last step are the sample. */
export async function sampleSteps(model: StableDiffusion, { guidance, sld, ...inputs }: SampleRequest): Promise<NDArray[]> {
  const [batch, , height, width] = inputs.noise.shape as [number, number, number, number];
  const shape = { batch, height, width, length: inputs.context.shape[1]!, guidance };
  const steps: NDArray[] = [];
  await Sampler.for(model, { ...shape, ...(sld && { sld }) }).run({
    ...inputs,
    drawNoise: () => {
      throw new Error("this scheduler draws fresh noise, which the reference does not hold");
    },
    onStep: async (_step, _steps, latents) => void steps.push(await latents()),
  });
  return steps;
}

/**
 * Compares decoded pictures [N, 3, H, W] about [-1, 1] as diffusers hands them out: NHWC in [0, 1] (`image`), rounded to 8 bits (`uint8`).
 * @param levels how far the latter may be apart; without them they are judged as the former
 */
export async function comparePictures(
  check: Check,
  name: string,
  decoded: NDArray,
  tolerance: number,
  levels: number | undefined,
): Promise<void> {
  const image = channelsLast(decoded).data.map((v) => Math.min(1, Math.max(0, Math.fround(v / 2) + 0.5)));
  await check.compare(name, "image", image, tolerance, { optional: true });
  const uint8 = tensorToImages(decoded.data, decoded.shape).flatMap((picture) => [...picture.data]);
  const measure = levels === undefined ? "relative L2" : "levels";
  await check.compare(name, "uint8", uint8, levels ?? tolerance, { optional: true, measure });
}

/** A PNG of a reference, by its path below the reference's folder. @throws FormatError */
export async function referencePicture(golden: Golden, files: FileSystem, path: string): Promise<RgbImage> {
  const file = joinPath(golden.folder, path);
  return decodePng(file, await readFile(files, file));
}
