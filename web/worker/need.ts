import { mseLoss } from "../../kernels/loss.ts";
import type { StableDiffusion } from "../../engine/models/stable-diffusion.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { errorMessage } from "../../engine/runtime/errors.ts";
import { type Estimate, estimateProgram } from "../../engine/runtime/estimate.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { Value } from "../../kernels/kernel.ts";
import type { NeedReport } from "../protocol.ts";

/**
 * What a model will take on its device, known before a weight is read: every program is recorded and planned, none is made.
 * A tensor that the device cannot bind becomes the report's refusal.
 */
export function needOf(model: StableDiffusion): NeedReport {
  const { parts, device, tokenizer } = model;
  const [height, width] = model.defaultLatentSize;
  const { factor } = parts.vae.config;
  const { inChannels } = parts.unet.config;
  const { hiddenSize, vocabularySize } = parts.textEncoder.config;
  const length = tokenizer.maxLength;
  const plan = (record: (g: Graph) => readonly Value[]): Estimate => {
    const g = new Graph();
    return estimateProgram(g, record(g), device.capabilities, device.bufferSharing);
  };
  const latents = (g: Graph, name: string, batch: number): Value => g.input(name, { shape: [batch, height, width, inChannels], dtype: "f32" });
  const features = (g: Graph, batch: number): Value => g.input("features", { shape: [batch, model.featureWidth], dtype: "f32" });
  const imageSize = [width * factor, height * factor] as const;
  try {
    const text = plan((g) => [model.recordTextEncoder(g, model.recordEmbeddings(g, g.input("ids", { shape: [1, length], dtype: "u32" })))]);
    const noise = plan((g) => [model.recordUNet(g, latents(g, "sample", 2), features(g, 2), g.input("context", { shape: [2, length, parts.unet.config.crossAttentionDim], dtype: "f32" }))]);
    const decoder = plan((g) => [model.recordDecoder(g, latents(g, "latents", 1))]);
    const encoder = plan((g) => Object.values(model.recordEncoder(g, g.input("image", { shape: [1, height * factor, width * factor, parts.vae.config.inChannels], dtype: "f32" }))));
    const objective = plan((g) => {
      const embeddings = g.input("embeddings", { shape: [1, length, hiddenSize], dtype: "f32" });
      const prediction = model.recordUNet(g, latents(g, "noised", 1), features(g, 1), model.recordTextEncoder(g, embeddings));
      const loss = mseLoss(g, prediction, latents(g, "target", 1));
      return [loss, gradients(g, loss, [embeddings])[0]!];
    });
    const own = (e: Estimate): number => e.intermediateBytes + e.leafBytes;
    // The VAE's two halves share no weights; the text encoder's and the UNet's are counted once each.
    const weightBytes = text.weightBytes + noise.weightBytes + decoder.weightBytes;
    const drawBytes = weightBytes + own(text) + own(noise) + own(decoder);
    // Simplex rows, moments and their gradients for a handful of tokens.
    const search = 8 * 5 * vocabularySize * 4;
    return { weightBytes, drawBytes, attackBytes: drawBytes + encoder.weightBytes + own(encoder) + own(objective) + search, refusal: "", imageSize };
  } catch (error) {
    return { weightBytes: 0, drawBytes: 0, attackBytes: 0, refusal: errorMessage(error), imageSize };
  }
}
