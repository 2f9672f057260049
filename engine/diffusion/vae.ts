import { attention } from "../../kernels/attention.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { slice } from "../../kernels/slice.ts";
import { InputError } from "../runtime/errors.ts";
import { type Bands, BandedLayers } from "../nn/bands.ts";
import type { Config } from "../nn/config.ts";
import type { Layers } from "../nn/layers.ts";

export interface VaeConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly groups: number;
  readonly scalingFactor: number;
  /** Its numbers leave the range of float16 (SDXL's). */
  readonly forceUpcast: boolean;
  /** Pixels per latent pixel, along each side. */
  readonly factor: number;
}

const EPSILON = 1e-6; // of every norm in the VAE, whatever the config says of the UNet's

/** From diffusers' AutoencoderKL config. @throws InputError naming the field. */
export function vaeConfig(config: Config): VaeConfig {
  const blockOutChannels = config.sizes("block_out_channels");
  for (const [name, type] of [["down_block_types", "DownEncoderBlock2D"], ["up_block_types", "UpDecoderBlock2D"]] as const) {
    const types = config.texts(name);
    if (types.length !== blockOutChannels.length || types.some((t) => t !== type)) {
      throw new InputError(`${config.file}: "${name}" must be ${blockOutChannels.length} x ${type}, got ${types.join(", ")}`);
    }
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
    forceUpcast: config.flag("force_upcast", false),
    factor: 2 ** (blockOutChannels.length - 1),
  };
}

/**
 * The encoder and its 1x1 `quant_conv`: image [B, H, W, 3] in [-1, 1] to the moments of the latent distribution,
 * mean and logvar [B, H/f, W/f, latentChannels] each. logvar is not clamped here.
 * @param maxTensorBytes larger intermediate tensors are held in bands of rows; these have no gradient
 * @throws ShapeError if the image's sides are not a multiple of the factor.
 */
export function vaeEncode(layers: Layers, config: VaeConfig, image: Value, maxTensorBytes = Infinity): { mean: Value; logvar: Value } {
  const [, height, width, channels] = image.type.shape;
  if (image.type.shape.length !== 4 || channels !== config.inChannels || height! % config.factor !== 0 || width! % config.factor !== 0) {
    throw new ShapeError(
      "vaeEncode",
      `image must be [batch, height, width, ${config.inChannels}] with sides a multiple of ${config.factor}, got ${formatType(image.type)}`,
    );
  }
  const banded = new BandedLayers(layers, maxTensorBytes);
  const levels = config.blockOutChannels.length;
  const moments = layers.at("encoder", () => {
    let h = banded.conv("conv_in", [image], config.blockOutChannels[0]!);
    for (let level = 0; level < levels; level++) {
      h = banded.at(`down_blocks.${level}`, () => {
        for (let i = 0; i < config.layersPerBlock; i++) h = vaeResnet(banded, config, `resnets.${i}`, h, config.blockOutChannels[level]!);
        if (level === levels - 1) return h;
        return banded.at("downsamplers.0", () =>
          banded.conv("conv", h, config.blockOutChannels[level]!, { stride: 2, padding: [0, 1, 0, 1] }),
        );
      });
    }
    h = midBlock(banded, config, h);
    h = banded.groupNorm("conv_norm_out", h, { groups: config.groups, epsilon: EPSILON, silu: true });
    return banded.join(banded.conv("conv_out", h, 2 * config.latentChannels));
  });
  const quantized = layers.conv("quant_conv", moments, 2 * config.latentChannels, { kernel: 1 });
  const n = config.latentChannels;
  return { mean: slice(layers.g, quantized, 0, n), logvar: slice(layers.g, quantized, n, n) };
}

/**
 * The decoder with its 1x1 `post_quant_conv`: latents [B, h, w, latentChannels] (already divided by the scaling factor)
 * to images [B, h*f, w*f, 3], about [-1, 1].
 * @param maxTensorBytes as for `vaeEncode`
 */
export function vaeDecode(layers: Layers, config: VaeConfig, latents: Value, maxTensorBytes = Infinity): Value {
  if (latents.type.shape.length !== 4 || latents.type.shape[3] !== config.latentChannels) {
    throw new ShapeError("vaeDecode", `latents must be [batch, height, width, ${config.latentChannels}], got ${formatType(latents.type)}`);
  }
  const banded = new BandedLayers(layers, maxTensorBytes);
  const levels = config.blockOutChannels.length;
  const z = layers.conv("post_quant_conv", latents, config.latentChannels, { kernel: 1 });
  return layers.at("decoder", () => {
    let h = banded.conv("conv_in", [z], config.blockOutChannels[levels - 1]!);
    h = midBlock(banded, config, h);
    for (let block = 0; block < levels; block++) {
      const channels = config.blockOutChannels[levels - 1 - block]!;
      h = banded.at(`up_blocks.${block}`, () => {
        for (let i = 0; i <= config.layersPerBlock; i++) h = vaeResnet(banded, config, `resnets.${i}`, h, channels);
        return block < levels - 1 ? banded.at("upsamplers.0", () => banded.conv("conv", banded.double(h), channels)) : h;
      });
    }
    h = banded.groupNorm("conv_norm_out", h, { groups: config.groups, epsilon: EPSILON, silu: true });
    return banded.join(banded.conv("conv_out", h, config.outChannels));
  });
}

/** ResnetBlock2D without a time embedding: norm1, SiLU, conv1, norm2, SiLU, conv2, plus the input. */
function vaeResnet(banded: BandedLayers, config: VaeConfig, name: string, x: Bands, out: number): Bands {
  const norm = { groups: config.groups, epsilon: EPSILON, silu: true };
  return banded.at(name, () => {
    const h = banded.conv("conv1", banded.groupNorm("norm1", x, norm), out);
    const residual = x[0].type.shape[3] === out ? x : banded.conv("conv_shortcut", x, out, { kernel: 1 });
    return banded.conv("conv2", banded.groupNorm("norm2", h, norm), out, { residual });
  });
}

/** Resnet, self attention with one head over all channels, resnet. */
function midBlock(banded: BandedLayers, config: VaeConfig, x: Bands): Bands {
  const channels = x[0].type.shape[3]!;
  return banded.at("mid_block", () => {
    const h = banded.join(vaeResnet(banded, config, "resnets.0", x, channels));
    const attended = banded.layers.at("attentions.0", () => vaeAttention(banded.layers, config, h));
    return vaeResnet(banded, config, "resnets.1", [attended], channels);
  });
}

/** The mid block's attention with its group norm and residual: one head over all channels. x [B, H, W, C]. */
export function vaeAttention(layers: Layers, config: Pick<VaeConfig, "groups">, x: Value): Value {
  const [batch, height, width, channels] = x.type.shape as [number, number, number, number];
  const normed = reshape(layers.g, layers.groupNorm("group_norm", x, { groups: config.groups, epsilon: EPSILON }), [
    batch,
    height * width,
    channels,
  ]);
  const [q, k, v] = ["to_q", "to_k", "to_v"].map((name) => layers.linear(name, normed, channels)) as [Value, Value, Value];
  const attended = attention(layers.g, q, k, v, { heads: 1 });
  const flat = reshape(layers.g, x, [batch, height * width, channels]);
  return reshape(layers.g, layers.linear("to_out.0", attended, channels, { residual: flat }), x.type.shape);
}
