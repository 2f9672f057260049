import { type Value, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { Graph } from "../runtime/graph.ts";
import type { RecordedLoss } from "./update.ts";

/**
 * The mean squared error of the noise (or velocity) predicted in a batch of noised pictures. Inputs: `noised` and `target` [B, h, w, C],
 * `features`. @param context text encodings [B, T, D]
 */
export function recordNoiseLoss(
  g: Graph,
  model: StableDiffusion,
  context: Value,
  batch: number,
  [height, width]: readonly [number, number],
): RecordedLoss {
  const latents = f32([batch, height, width, model.parts.unet.config.inChannels]);
  const prediction = model.recordUNet(g, g.input("noised", latents), g.input("features", f32([batch, model.featureWidth])), context);
  const loss = mseLoss(g, prediction, g.input("target", latents));
  return { loss, rescaleAt: model.rescaleAt(prediction, context), outputs: { prediction } };
}
