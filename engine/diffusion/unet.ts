import { silu } from "../../kernels/activation.ts";
import { concat } from "../../kernels/concat.ts";
import { add } from "../../kernels/elementwise.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { slice } from "../../kernels/slice.ts";
import { downsample, resnetBlock, timeEmbedding, transformer2d, upsample } from "../nn/blocks.ts";
import type { Layers } from "../nn/layers.ts";
import { pooledText, textKeyValues, textProducts, timeBiases } from "./unet-conditions.ts";
import { SIZE_NUMBERS, type UNetConfig, featureWidth } from "./unet-config.ts";

type Features = Pick<UNetConfig, "blockOutChannels" | "flipSinToCos" | "freqShift" | "addition">;

/**
 * Sinusoidal features of timesteps [B] (may be fractional), f32 [B, featureWidth]: blockOutChannels[0] of the timestep as diffusers'
 * get_timestep_embedding, and of SDXL behind them those of the six size numbers, in their order.
 * Computed here in float64: phases reach 999 rad, those of sizes thousands, where WGSL's sin is not accurate.
 * @param sizes SDXL: `sizeNumbers` of each row
 */
export function timestepFeatures(
  config: Features,
  timesteps: readonly number[],
  sizes: readonly (readonly number[])[] = [],
): Float32Array<ArrayBuffer> {
  const [width, own] = [featureWidth(config), config.blockOutChannels[0]!];
  const out = new Float32Array(timesteps.length * width);
  timesteps.forEach((t, row) => {
    writeSinusoid(out.subarray(row * width, row * width + own), t, config);
    if (!config.addition) return;
    const { sinusoidWidth } = config.addition;
    // diffusers shifts the frequencies of the timestep's sinusoid and of these alike (unet_2d_condition.py:381)
    for (const [i, size] of sizes[row]!.entries()) {
      const at = row * width + own + i * sinusoidWidth;
      writeSinusoid(out.subarray(at, at + sinusoidWidth), size, config);
    }
  });
  return out;
}

function writeSinusoid(out: Float32Array, x: number, { flipSinToCos, freqShift }: Features): void {
  const half = out.length >> 1;
  for (let i = 0; i < half; i++) {
    const phase = x * Math.exp((-Math.log(10000) * i) / (half - freqShift));
    const [first, second] = flipSinToCos ? [Math.cos(phase), Math.sin(phase)] : [Math.sin(phase), Math.cos(phase)];
    out[i] = first;
    out[half + i] = second;
  }
}

/**
 * UNet2DConditionModel: the model's prediction for noisy latents.
 * @param sample [B, H, W, inChannels]
 * @param features `timestepFeatures` [B, featureWidth]
 * @param context text encoding [B, T, crossAttentionDim], of SDXL with the pooled text in a row of its own, or the `textProducts` of it
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

  const products = "type" in context ? textProducts(layers, config, context) : context;
  const time = timeBiases(layers, config, embeddedTime(layers, config, features, pooledText(config, products)));
  const text = textKeyValues(layers, config, products);
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

/**
 * The time embedding after SiLU [B, 4 blockOutChannels[0]]: every resnet block applies that first, once is enough. With SDXL's additions,
 * those of the pooled text and the sizes through an embedding of their own (diffusers unet_2d_condition.py:872-909).
 */
function embeddedTime(layers: Layers, config: UNetConfig, features: Value, pooled: Value | undefined): Value {
  const { g } = layers;
  const [first] = config.blockOutChannels as [number];
  const width = first * 4;
  const timestep = slice(g, features, 0, first);
  g.capture("time_proj", timestep);
  if (!config.addition || !pooled) {
    return layers.fused ? timeEmbedding(layers, timestep, width, "silu") : silu(g, timeEmbedding(layers, timestep, width));
  }
  const { sinusoidWidth } = config.addition;
  const sizes = slice(g, features, first, SIZE_NUMBERS * sinusoidWidth);
  g.capture("add_time_proj", reshape(g, sizes, [features.type.shape[0]! * SIZE_NUMBERS, sinusoidWidth]));
  const added = timeEmbedding(layers, concat(g, pooled, sizes), width, "none", "add_embedding");
  return silu(g, add(g, timeEmbedding(layers, timestep, width), added));
}
