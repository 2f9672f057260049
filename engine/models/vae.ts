import { attention } from "../../kernels/attention.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { slice } from "../../kernels/slice.ts";
import { InputError } from "../runtime/errors.ts";
import { downsample, resnetBlock, upsample } from "./blocks.ts";
import type { Config } from "./config.ts";
import type { Layers } from "./layers.ts";

export interface VaeConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly groups: number;
  readonly scalingFactor: number;
  /** Pixels per latent pixel, along each side. */
  readonly factor: number;
}

const EPSILON = 1e-6; // of every norm in the VAE, whatever the config says of the UNet's

/** From diffusers' AutoencoderKL config. @throws InputError naming the field. */
export function vaeConfig(config: Config): VaeConfig {
  const blockOutChannels = config.sizes("block_out_channels");
  for (const [name, type] of [["down_block_types", "DownEncoderBlock2D"], ["up_block_types", "UpDecoderBlock2D"]] as const) {
    const types = config.texts(name);
    if (types.length !== blockOutChannels.length || types.some((t) => t !== type)) throw new InputError(`${config.file}: "${name}" must be ${blockOutChannels.length} x ${type}, got ${types.join(", ")}`);
  }
  config.oneOf("act_fn", ["silu", "swish"], "silu");
  return {
    inChannels: config.size("in_channels", 3),
    outChannels: config.size("out_channels", 3),
    latentChannels: config.size("latent_channels", 4),
    blockOutChannels,
    layersPerBlock: config.size("layers_per_block", 1),
    groups: config.size("norm_num_groups", 32),
    scalingFactor: config.number("scaling_factor", 0.18215),
    factor: 2 ** (blockOutChannels.length - 1),
  };
}

/**
 * The encoder and its 1x1 `quant_conv`: image [B, H, W, 3] in [-1, 1] to the moments of the latent distribution,
 * mean and logvar [B, H/f, W/f, latentChannels] each. logvar is not clamped here.
 * @throws ShapeError if the image's sides are no multiple of the factor.
 */
export function vaeEncode(layers: Layers, config: VaeConfig, image: Value): { mean: Value; logvar: Value } {
  const [, height, width, channels] = image.type.shape;
  if (image.type.shape.length !== 4 || channels !== config.inChannels || height! % config.factor !== 0 || width! % config.factor !== 0) {
    throw new ShapeError("vaeEncode", `image must be [batch, height, width, ${config.inChannels}] with sides a multiple of ${config.factor}, got ${formatType(image.type)}`);
  }
  const norm = { groups: config.groups, epsilon: EPSILON };
  const levels = config.blockOutChannels.length;
  const moments = layers.at("encoder", () => {
    let h = layers.conv("conv_in", image, config.blockOutChannels[0]!);
    for (let level = 0; level < levels; level++) {
      h = layers.at(`down_blocks.${level}`, () => {
        for (let i = 0; i < config.layersPerBlock; i++) h = resnetBlock(layers, `resnets.${i}`, h, config.blockOutChannels[level]!, undefined, norm);
        return level < levels - 1 ? downsample(layers, "downsamplers.0", h, [0, 1, 0, 1]) : h;
      });
    }
    h = midBlock(layers, config, h);
    h = layers.groupNorm("conv_norm_out", h, { ...norm, silu: true });
    return layers.conv("conv_out", h, 2 * config.latentChannels);
  });
  const quantized = layers.conv("quant_conv", moments, 2 * config.latentChannels, { kernel: 1 });
  const n = config.latentChannels;
  return { mean: slice(layers.g, quantized, 0, n), logvar: slice(layers.g, quantized, n, n) };
}

/**
 * The decoder with its 1x1 `post_quant_conv`: latents [B, h, w, latentChannels] (already divided by the scaling factor)
 * to images [B, h*f, w*f, 3], about [-1, 1].
 */
export function vaeDecode(layers: Layers, config: VaeConfig, latents: Value): Value {
  if (latents.type.shape.length !== 4 || latents.type.shape[3] !== config.latentChannels) throw new ShapeError("vaeDecode", `latents must be [batch, height, width, ${config.latentChannels}], got ${formatType(latents.type)}`);
  const norm = { groups: config.groups, epsilon: EPSILON };
  const levels = config.blockOutChannels.length;
  const z = layers.conv("post_quant_conv", latents, config.latentChannels, { kernel: 1 });
  return layers.at("decoder", () => {
    let h = layers.conv("conv_in", z, config.blockOutChannels[levels - 1]!);
    h = midBlock(layers, config, h);
    for (let block = 0; block < levels; block++) {
      const channels = config.blockOutChannels[levels - 1 - block]!;
      h = layers.at(`up_blocks.${block}`, () => {
        for (let i = 0; i <= config.layersPerBlock; i++) h = resnetBlock(layers, `resnets.${i}`, h, channels, undefined, norm);
        return block < levels - 1 ? upsample(layers, "upsamplers.0", h) : h;
      });
    }
    h = layers.groupNorm("conv_norm_out", h, { ...norm, silu: true });
    return layers.conv("conv_out", h, config.outChannels);
  });
}

/** Resnet, self attention with one head over all channels, resnet. */
function midBlock(layers: Layers, config: VaeConfig, x: Value): Value {
  const norm = { groups: config.groups, epsilon: EPSILON };
  const channels = x.type.shape[3]!;
  return layers.at("mid_block", () => {
    const h = resnetBlock(layers, "resnets.0", x, channels, undefined, norm);
    const attended = layers.at("attentions.0", () => vaeAttention(layers, config, h));
    return resnetBlock(layers, "resnets.1", attended, channels, undefined, norm);
  });
}

/** Names of the attention's layers, now and in checkpoints older than diffusers 0.15. */
const ATTENTION_NAMES = { now: ["to_q", "to_k", "to_v", "to_out.0"], older: ["query", "key", "value", "proj_attn"] } as const;

function vaeAttention(layers: Layers, config: VaeConfig, x: Value): Value {
  const [batch, height, width, channels] = x.type.shape as [number, number, number, number];
  const names = layers.has("query.weight") ? ATTENTION_NAMES.older : ATTENTION_NAMES.now;
  const normed = reshape(layers.g, layers.groupNorm("group_norm", x, { groups: config.groups, epsilon: EPSILON }), [batch, height * width, channels]);
  const [q, k, v] = names.slice(0, 3).map((name) => layers.linear(name, normed, channels)) as [Value, Value, Value];
  const attended = attention(layers.g, q, k, v, { heads: 1 });
  const flat = reshape(layers.g, x, [batch, height * width, channels]);
  return reshape(layers.g, layers.linear(names[3], attended, channels, { residual: flat }), x.type.shape);
}
