import { f32 } from "../../kernels/kernel.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { Bench, RowName } from "../task.ts";
import { type BenchModel, type ToMeasure, measureRecorded, noise } from "./model.ts";

/** The VAE's decoder and encoder for latents of size x size. */
export async function runVae(bench: Bench, { name, model }: BenchModel, sizes: readonly number[]): Promise<void> {
  for (const size of sizes) {
    const pixels = size * model.parts.vae.config.factor;
    const row = (part: string): RowName => ({
      suite: "vae",
      model: name,
      name: `VAE ${part} @${size} (${pixels} px)`,
      direction: "forward",
    });
    await measureRecorded(bench, model, row("decoder"), ...decoding(model, size));
    await measureRecorded(bench, model, row("encoder"), ...encoding(model, pixels));
  }
}

/** The decoder, latents of size x size to a picture. */
export function decoding(model: StableDiffusion, size: number): ToMeasure {
  const { latentChannels } = model.parts.vae.config;
  return [
    (g) => ({ outputs: { image: model.recordDecoder(g, g.input("latents", f32([1, size, size, latentChannels]))) } }),
    () => ({ latents: noise(size * size * latentChannels) }),
  ];
}

/** The encoder, a picture of pixels x pixels to the distribution of its latents. */
function encoding(model: StableDiffusion, pixels: number): ToMeasure {
  const { inChannels } = model.parts.vae.config;
  return [
    (g) => ({ outputs: { ...model.recordEncoder(g, g.input("image", f32([1, pixels, pixels, inChannels]))) } }),
    () => ({ image: noise(pixels * pixels * inChannels) }),
  ];
}
