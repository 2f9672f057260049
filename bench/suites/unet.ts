import { f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import type { Graph } from "../../engine/runtime/graph.ts";
import type { HostArray, ProgramOptions } from "../../engine/runtime/program.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import type { Bench } from "../task.ts";
import { type BenchModel, measureRecorded, noise } from "./model.ts";

const TIMESTEP = 501;

/** The UNet forward, and forward with the gradient that the attack takes: of the loss against known noise, by the text encoding. */
export async function runUNet(
  bench: Bench,
  { name, model }: BenchModel,
  sizes: readonly number[],
  batches: readonly number[],
): Promise<void> {
  for (const size of sizes) {
    for (const batch of batches) {
      for (const direction of ["forward", "forward+gradient"] as const) {
        // The gradient's batch is one, as the attack's is, unless larger ones are asked for alone.
        if (direction === "forward+gradient" && batch !== batches[0]) continue;
        const row = { suite: "unet", model: name, name: `UNet @${size} batch ${batch}`, direction };
        const record = (g: Graph): ProgramOptions => recordUNet(g, model, size, batch, direction === "forward+gradient");
        await measureRecorded(bench, model, row, record, () => unetInputs(model, size, batch));
      }
    }
  }
}

/** Inputs of `recordUNet` but the target, which stays zero. */
export function unetInputs(model: StableDiffusion, size: number, batch: number): Record<string, HostArray> {
  const { unet } = model.parts;
  return {
    latents: noise(batch * size * size * unet.config.inChannels),
    features: model.timestepFeatures(new Array<number>(batch).fill(TIMESTEP)),
    context: noise(batch * model.tokenizer.maxLength * unet.config.crossAttentionDim),
  };
}

/** The UNet's prediction, or the loss of it and its gradient by the context. */
export function recordUNet(g: Graph, model: StableDiffusion, size: number, batch: number, withGradient: boolean): ProgramOptions {
  const { config } = model.parts.unet;
  const context = g.input("context", f32([batch, model.tokenizer.maxLength, config.crossAttentionDim]));
  const prediction = model.recordUNet(
    g,
    g.input("latents", f32([batch, size, size, config.inChannels])),
    g.input("features", f32([batch, model.featureWidth])),
    context,
  );
  if (!withGradient) return { outputs: { prediction } };
  const loss = mseLoss(g, prediction, g.input("target", prediction.type));
  return { outputs: { loss, gradient: gradients(g, loss, [context])[0]! } };
}
