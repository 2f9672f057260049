import { type Value } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { rows } from "../../kernels/slice.ts";
import type { Config } from "../nn/config.ts";
import type { Layers } from "../nn/layers.ts";
import { encoderLayer } from "../diffusion/text-encoder.ts";
import { type PatchConfig, expectImage, patchesPerEdge, tokenSequence } from "./vit.ts";

export interface ClipVisionConfig extends PatchConfig {
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly epsilon: number;
  readonly activation: "quickGelu" | "gelu";
}

/** From a Hugging Face CLIPVisionConfig. @throws InputError naming the field. */
export function clipVisionConfig(config: Config): ClipVisionConfig {
  return {
    channels: config.size("num_channels", 3),
    imageSize: config.size("image_size", 224),
    patchSize: config.size("patch_size", 32),
    hiddenSize: config.size("hidden_size", 768),
    intermediateSize: config.size("intermediate_size", 3072),
    layers: config.size("num_hidden_layers", 12),
    heads: config.size("num_attention_heads", 12),
    epsilon: config.number("layer_norm_eps", 1e-5),
    activation: config.oneOf("hidden_act", ["quick_gelu", "gelu"], "quick_gelu") === "gelu" ? "gelu" : "quickGelu",
  };
}

/**
 * CLIP's image encoder with its projection, as CLIPVisionModelWithProjection and CLIPModel.get_image_features: image [B, S, S, 3]
 * (normalised)
 * to embeddings [B, projection], not normalised. Captures `vision_model.hidden_states.i`.
 * Source: transformers' modeling_clip.py; Radford et al., arXiv 2103.00020. @throws ShapeError for a picture of another size than the
 * configuration's
 */
export function clipImageEmbedding(layers: Layers, config: ClipVisionConfig, projection: number, image: Value): Value {
  expectImage("clipImageEmbedding", config, image);
  const { g } = layers;
  const { hiddenSize: hidden, patchSize, epsilon } = config;
  const tokens = 1 + patchesPerEdge(config) ** 2;
  const pooled = layers.at("vision_model", () => {
    let x = layers.at("embeddings", () => {
      const patches = layers.conv("patch_embedding", image, hidden, { kernel: patchSize, stride: patchSize, padding: 0, bias: false });
      return tokenSequence(
        layers,
        patches,
        layers.weight("class_embedding", [hidden]),
        layers.weight("position_embedding.weight", [tokens, hidden]),
      );
    });
    x = layers.layerNorm("pre_layrnorm", x, epsilon); // so spelled in the checkpoints
    g.capture("hidden_states.0", x);
    for (let i = 0; i < config.layers; i++) {
      x = layers.at(`encoder.layers.${i}`, () => encoderLayer(layers, config, x, false));
      g.capture(`hidden_states.${i + 1}`, x);
    }
    return layers.layerNorm("post_layernorm", rows(g, x, 0, 1), epsilon);
  });
  return layers.linear("visual_projection", reshape(g, pooled, [image.type.shape[0]!, hidden]), projection, { bias: false });
}
