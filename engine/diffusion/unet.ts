import { silu } from "../../kernels/activation.ts";
import { concat } from "../../kernels/concat.ts";
import { ShapeError, type Value, formatType } from "../../kernels/kernel.ts";
import { InputError } from "../runtime/errors.ts";
import { downsample, resnetBlock, timeEmbedding, transformer2d, upsample } from "../nn/blocks.ts";
import type { Config } from "../nn/config.ts";
import type { Layers } from "../nn/layers.ts";
import { textKeyValues, textProducts, timeBiases } from "./unet-conditions.ts";

export interface UNetConfig {
  readonly sampleSize: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly blockOutChannels: readonly number[];
  /** Whether each down block has cross attention. */
  readonly downAttention: readonly boolean[];
  readonly upAttention: readonly boolean[];
  readonly layersPerBlock: readonly number[];
  /** Number of heads per level: diffusers' `attention_head_dim`, which despite its name counts heads. */
  readonly heads: readonly number[];
  readonly transformerLayers: readonly number[];
  readonly crossAttentionDim: number;
  readonly groups: number;
  readonly epsilon: number;
  readonly linearProjection: boolean;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
}

/** From diffusers' UNet2DConditionModel config (SD 1.x and 2.x). @throws InputError naming the field, also for options the engine does not have. */
export function unetConfig(config: Config): UNetConfig {
  const blockOutChannels = config.sizes("block_out_channels");
  const levels = blockOutChannels.length;
  const attentionOf = (name: string, plain: string, cross: string): boolean[] => {
    const types = config.texts(name);
    if (types.length !== levels) throw new InputError(`${config.file}: "${name}" lists ${types.length} blocks, "block_out_channels" ${levels}`);
    return types.map((type) => {
      if (type !== plain && type !== cross) throw new InputError(`${config.file}: "${name}" has "${type}"; supported are ${plain} and ${cross}`);
      return type === cross;
    });
  };
  config.oneOf("act_fn", ["silu", "swish"], "silu");
  config.refuse("mid_block_scale_factor", [1]);
  config.refuse("only_cross_attention", [false]);
  config.refuse("dual_cross_attention", [false]);
  config.refuse("class_embed_type", []);
  config.refuse("addition_embed_type", []);
  config.refuse("encoder_hid_dim", []);
  config.refuse("resnet_time_scale_shift", ["default"]);
  config.refuse("time_embedding_type", ["positional"]);
  config.refuse("time_embedding_dim", []);
  config.refuse("center_input_sample", [false]);
  config.refuse("resnet_skip_time_act", [false]);
  config.refuse("resnet_out_scale_factor", [1]);
  config.refuse("conv_in_kernel", [3]);
  config.refuse("conv_out_kernel", [3]);
  config.refuse("attention_type", ["default"]);
  config.refuse("downsample_padding", [1]);
  const midType = config.get("mid_block_type") ?? "UNetMidBlock2DCrossAttn";
  if (midType !== "UNetMidBlock2DCrossAttn") throw new InputError(`${config.file}: "mid_block_type" must be UNetMidBlock2DCrossAttn, got ${JSON.stringify(midType)}`);
  const heads = config.get("num_attention_heads") ? "num_attention_heads" : "attention_head_dim";
  return {
    sampleSize: config.size("sample_size", 64),
    inChannels: config.size("in_channels", 4),
    outChannels: config.size("out_channels", 4),
    blockOutChannels,
    downAttention: attentionOf("down_block_types", "DownBlock2D", "CrossAttnDownBlock2D"),
    upAttention: attentionOf("up_block_types", "UpBlock2D", "CrossAttnUpBlock2D"),
    layersPerBlock: config.perLevel("layers_per_block", levels),
    heads: config.perLevel(heads, levels),
    transformerLayers: config.get("transformer_layers_per_block") === undefined ? new Array<number>(levels).fill(1) : config.perLevel("transformer_layers_per_block", levels),
    crossAttentionDim: config.size("cross_attention_dim"),
    groups: config.size("norm_num_groups", 32),
    epsilon: config.number("norm_eps", 1e-5),
    linearProjection: config.flag("use_linear_projection", false),
    flipSinToCos: config.flag("flip_sin_to_cos", true),
    freqShift: config.number("freq_shift", 0),
  };
}

/**
 * Sinusoidal features of timesteps [B] (may be fractional), [B, blockOutChannels[0]], as diffusers' get_timestep_embedding.
 * Computed here in float64: phases reach 999 rad, where WGSL's sin is not accurate.
 */
export function timestepFeatures(config: Pick<UNetConfig, "blockOutChannels" | "flipSinToCos" | "freqShift">, timesteps: readonly number[]): Float32Array<ArrayBuffer> {
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
  if (sample.type.shape.length !== 4 || sample.type.shape[3] !== config.inChannels) throw new ShapeError("unet", `sample must be [batch, height, width, ${config.inChannels}], got ${formatType(sample.type)}`);
  if ("type" in context && context.type.shape[2] !== config.crossAttentionDim) throw new ShapeError("unet", `context must be [batch, tokens, ${config.crossAttentionDim}], got ${formatType(context.type)}`);
  const norm = { groups: config.groups, epsilon: config.epsilon };
  const transformer = (level: number) => ({ heads: config.heads[level]!, layers: config.transformerLayers[level]!, groups: config.groups, linearProjection: config.linearProjection });

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
