import { f32 } from "../../kernels/kernel.ts";
import { type Bench, measureTask } from "../task.ts";
import { type BenchModel, noise, recorded } from "./model.ts";

/** The VAE's decoder and encoder for latents of size x size. */
export async function runVae(bench: Bench, { name, model }: BenchModel, sizes: readonly number[]): Promise<void> {
  const { latentChannels, inChannels, factor } = model.parts.vae.config;
  for (const size of sizes) {
    const pixels = size * factor;
    const row = (part: string) => ({
      suite: "vae",
      model: name,
      name: `VAE ${part} @${size} (${pixels} px)`,
      direction: "forward" as const,
    });
    if (bench.wants(row("decoder").name)) {
      const decode = await recorded(
        model,
        row("decoder").name,
        (g) => ({ outputs: { image: model.recordDecoder(g, g.input("latents", f32([1, size, size, latentChannels]))) } }),
        { latents: noise(size * size * latentChannels) },
      );
      await measureTask(bench, row("decoder"), decode);
    }
    if (bench.wants(row("encoder").name)) {
      const encode = await recorded(
        model,
        row("encoder").name,
        (g) => ({ outputs: { ...model.recordEncoder(g, g.input("image", f32([1, pixels, pixels, inChannels]))) } }),
        { image: noise(pixels * pixels * inChannels) },
      );
      await measureTask(bench, row("encoder"), encode);
    }
  }
}
