import { silu } from "../../kernels/activation.ts";
import { concat } from "../../kernels/concat.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { downsample, resnetBlock, timeEmbedding, transformer2d, upsample } from "../nn/blocks.ts";
import type { Layers } from "../nn/layers.ts";
import { textKeyValues, textProducts, timeBiases } from "./unet-conditions.ts";
import type { UNetConfig } from "./unet-config.ts";

/**
 * Sinusoidal features of timesteps [B] (may be fractional), [B, blockOutChannels[0]], as diffusers' get_timestep_embedding.
 * Computed here in float64: phases reach 999 rad, where WGSL's sin is not accurate.
 */
export function timestepFeatures(
  config: Pick<UNetConfig, "blockOutChannels" | "flipSinToCos" | "freqShift">,
  timesteps: readonly number[],
): Float32Array<ArrayBuffer> {
  const width = config.blockOutChannels[0]!;
  const half = width >> 1;
  const out = new Float32Array(timesteps.length * width);
  timesteps.forEach((t, row) => {
    for (let i = 0; i < half; i++) {
      const phase = t * Math.exp((-Math.log(10000) * i) / (half - config.freqShift));
      const [first, second] = config.flipSinToCos ? [Math.cos(phase), Math.sin(phase)] : [Math.sin(phase), Math.cos(phase)];
      out[row * width + i] = first;
      out[row * width + half + i] = second;
    }
  });
  return out;
}

/**
 * UNet2DConditionModel: the model's prediction for noisy latents.
 * @param sample [B, H, W, inChannels]
 * @param features `timestepFeatures` [B, blockOutChannels[0]]
 * @param context text encoding [B, T, crossAttentionDim], or the `textProducts` of it
 * @returns [B, H, W, outChannels]
 * @throws ShapeError if the sizes do not fit the configuration.
 */
export function unet(layers: Layers, config: UNetConfig, sample: Value, features: Value, context: Value | readonly Value[]): Value {
  const { g } = layers;
  const levels = config.blockOutChannels.length;
  if (sample.type.shape.length !== 4 || sample.type.shape[3] !== config.inChannels) {
    throw new ShapeError("unet", `sample must be [batch, height, width, ${config.inChannels}], got ${formatType(sample.type)}`);
  }
  if ("type" in context && context.type.shape[2] !== config.crossAttentionDim) {
    throw new ShapeError("unet", `context must be [batch, tokens, ${config.crossAttentionDim}], got ${formatType(context.type)}`);
  }
  const norm = { groups: config.groups, epsilon: config.epsilon };
  const transformer = (level: number) => ({
    heads: config.heads[level]!,
    layers: config.transformerLayers[level]!,
    groups: config.groups,
    linearProjection: config.linearProjection,
  });

  g.capture("time_proj", features);
  // Every resnet block applies SiLU to the time embedding first; once is enough.
  const width = config.blockOutChannels[0]! * 4;
  const embedded = layers.fused ? timeEmbedding(layers, features, width, "silu") : silu(g, timeEmbedding(layers, features, width));
  const time = timeBiases(layers, config, embedded);
  const text = textKeyValues(layers, config, "type" in context ? textProducts(layers, config, context) : context);
  let h = layers.conv("conv_in", sample, config.blockOutChannels[0]!);
  const skips = [h];
  for (let level = 0; level < levels; level++) {
    h = layers.at(`down_blocks.${level}`, () => {
      for (let i = 0; i < config.layersPerBlock[level]!; i++) {
        h = resnetBlock(layers, `resnets.${i}`, h, config.blockOutChannels[level]!, time, norm);
        if (config.downAttention[level]) h = transformer2d(layers, `attentions.${i}`, h, text, transformer(level));
        skips.push(h);
      }
      if (level < levels - 1) skips.push((h = downsample(layers, "downsamplers.0", h, 1)));
      return h;
    });
  }
  h = layers.at("mid_block", () => {
    const channels = config.blockOutChannels[levels - 1]!;
    h = resnetBlock(layers, "resnets.0", h, channels, time, norm);
    h = transformer2d(layers, "attentions.0", h, text, transformer(levels - 1));
    return resnetBlock(layers, "resnets.1", h, channels, time, norm);
  });
  for (let block = 0; block < levels; block++) {
    const level = levels - 1 - block;
    h = layers.at(`up_blocks.${block}`, () => {
      for (let i = 0; i <= config.layersPerBlock[level]!; i++) {
        h = resnetBlock(layers, `resnets.${i}`, concat(g, h, skips.pop()!), config.blockOutChannels[level]!, time, norm);
        if (config.upAttention[block]) h = transformer2d(layers, `attentions.${i}`, h, text, transformer(level));
      }
      // To the size of the skip that comes next, which is not double an odd size.
      if (level > 0) h = upsample(layers, "upsamplers.0", h, skips.at(-1)!.type.shape.slice(1, 3) as [number, number]);
      return h;
    });
  }
  h = layers.groupNorm("conv_norm_out", h, { ...norm, silu: true });
  return layers.conv("conv_out", h, config.outChannels);
}
