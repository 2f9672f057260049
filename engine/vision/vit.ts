import { attention } from "../../kernels/attention.ts";
import { broadcastAdd, broadcastTo } from "../../kernels/broadcast.ts";
import { concat } from "../../kernels/concat.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { rows } from "../../kernels/slice.ts";
import { readLabels } from "../formats/diffusers.ts";
import { InputError } from "../runtime/errors.ts";
import type { Config } from "../nn/config.ts";
import type { Layers } from "../nn/layers.ts";

export interface PatchConfig {
  readonly channels: number;
  readonly imageSize: number;
  readonly patchSize: number;
  readonly hiddenSize: number;
}

export interface ViTConfig extends PatchConfig {
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly epsilon: number;
  readonly activation: "gelu" | "quickGelu" | "relu";
  readonly queryKeyValueBias: boolean;
  readonly labels: readonly string[];
}

/** From a Hugging Face ViTConfig. @throws InputError naming the field. */
export function vitConfig(config: Config): ViTConfig {
  const activation = config.oneOf("hidden_act", ["gelu", "quick_gelu", "relu"], "gelu");
  return {
    channels: config.size("num_channels", 3),
    imageSize: config.size("image_size", 224),
    patchSize: config.size("patch_size", 16),
    hiddenSize: config.size("hidden_size", 768),
    intermediateSize: config.size("intermediate_size", 3072),
    layers: config.size("num_hidden_layers", 12),
    heads: config.size("num_attention_heads", 12),
    epsilon: config.number("layer_norm_eps", 1e-12),
    activation: activation === "quick_gelu" ? "quickGelu" : activation,
    queryKeyValueBias: config.flag("qkv_bias", true),
    labels: readLabels(config.file, { id2label: config.get("id2label") }),
  };
}

/** Patches along one edge. @throws InputError if the picture does not divide into them. */
export function patchesPerEdge({ imageSize, patchSize }: PatchConfig): number {
  if (imageSize % patchSize !== 0) throw new InputError(`a picture of ${imageSize} pixels does not divide into patches of ${patchSize}`);
  return imageSize / patchSize;
}

/** @throws ShapeError unless `image` is [B, size, size, channels] */
export function expectImage(op: string, config: PatchConfig, image: Value): void {
  const { channels, imageSize: size } = config;
  const [, height, width, depth] = image.type.shape;
  if (image.type.shape.length !== 4 || height !== size || width !== size || depth !== channels) {
    throw new ShapeError(op, `image must be [batch, ${size}, ${size}, ${channels}], got ${formatType(image.type)}`);
  }
}

/** Patch embeddings [B, h, w, C] as a sequence behind one class token [C], with position embeddings [1 + h w, C] added: [B, 1 + h w, C]. */
export function tokenSequence(layers: Layers, patches: Value, classToken: Value, positions: Value): Value {
  const { g } = layers;
  const [batch, height, width, hidden] = patches.type.shape as [number, number, number, number];
  const first = broadcastTo(g, reshape(g, classToken, [hidden]), [batch, 1, hidden]);
  return broadcastAdd(g, concat(g, first, reshape(g, patches, [batch, height * width, hidden]), 1), positions);
}

/**
 * ViTForImageClassification of transformers, in inference: image [B, S, S, 3] (normalised) to logits [B, classes]. The class token is
 * classified after the final layer norm. Source: transformers' modeling_vit.py; Dosovitskiy et al., arXiv 2010.11929.
 * @throws ShapeError for a picture of another size than the configuration's
 */
export function vit(layers: Layers, config: ViTConfig, image: Value): Value {
  expectImage("vit", config, image);
  const { hiddenSize: hidden, patchSize, epsilon } = config;
  const tokens = 1 + patchesPerEdge(config) ** 2;
  const normed = layers.at("vit", () => {
    let x = layers.at("embeddings", () => {
      const patches = layers.at("patch_embeddings", () =>
        layers.conv("projection", image, hidden, { kernel: patchSize, stride: patchSize, padding: 0 }),
      );
      const positions = layers.weight("position_embeddings", [1, tokens, hidden]);
      return tokenSequence(layers, patches, layers.weight("cls_token", [1, 1, hidden]), reshape(layers.g, positions, [tokens, hidden]));
    });
    for (let i = 0; i < config.layers; i++) x = layers.at(`encoder.layer.${i}`, () => vitLayer(layers, config, x));
    return layers.layerNorm("layernorm", rows(layers.g, x, 0, 1), epsilon);
  });
  return layers.linear("classifier", reshape(layers.g, normed, [image.type.shape[0]!, hidden]), config.labels.length);
}

function vitLayer(layers: Layers, config: ViTConfig, x: Value): Value {
  const { hiddenSize: hidden, queryKeyValueBias: bias } = config;
  const normed = layers.layerNorm("layernorm_before", x, config.epsilon);
  const attended = layers.at("attention", () => {
    const heads = layers.at("attention", () => {
      const [q, k, v] = ["query", "key", "value"].map((name) => layers.linear(name, normed, hidden, { bias })) as [Value, Value, Value];
      return attention(layers.g, q, k, v, { heads: config.heads });
    });
    return layers.linear("output.dense", heads, hidden, { residual: x });
  });
  const inner = layers.linear(
    "intermediate.dense",
    layers.layerNorm("layernorm_after", attended, config.epsilon),
    config.intermediateSize,
    { activation: config.activation },
  );
  return layers.linear("output.dense", inner, hidden, { residual: attended });
}
