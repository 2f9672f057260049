import { InputError } from "../runtime/errors.ts";
import { Graph } from "../runtime/graph.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";

/**
 * Records every part of a model once, without computing anything, so that a missing tensor or a configuration that disagrees with its
 * weights is told before long work begins.
 * @throws InputError naming the file, the tensor and both shapes
 */
export function checkWeights(model: StableDiffusion): void {
  const { name, textEncoder, unet, vae } = model.parts;
  const [height, width] = model.defaultLatentSize;
  const { maxLength } = model.tokenizer;
  const g = new Graph();
  const input = (of: string, ...shape: number[]): ReturnType<Graph["input"]> => g.input(of, { shape, dtype: "f32" });
  model.recordPrompts(g, g.input("ids", { shape: [1, maxLength], dtype: "u32" }));
  model.recordUNet(
    g,
    input("sample", 1, height, width, unet.config.inChannels),
    input("features", 1, model.featureWidth),
    input("context", ...model.encodingShape(1, maxLength)),
  );
  const { hiddenSize } = textEncoder.config;
  if (!model.isXl && hiddenSize !== unet.config.crossAttentionDim) {
    throw new InputError(
      `${name}: the text encoder is ${hiddenSize} wide (hidden_size), the UNet expects ${unet.config.crossAttentionDim} ` +
        "(cross_attention_dim): they do not belong together",
    );
  }
  model.recordDecoder(g, input("latents", 1, height, width, vae.config.latentChannels));
  model.recordEncoder(g, input("image", 1, height * vae.config.factor, width * vae.config.factor, vae.config.inChannels));
}

/** @throws InputError for a UNet that takes more than latents, as those made for inpainting do */
export function requireTextToImage({ parts: { name, unet, vae } }: StableDiffusion): void {
  const { inChannels } = unet.config;
  const { latentChannels } = vae.config;
  if (inChannels === latentChannels) return;
  throw new InputError(`${name}: a UNet of ${inChannels} channels, as made for inpainting, not a text-to-image one of ${latentChannels}`);
}
