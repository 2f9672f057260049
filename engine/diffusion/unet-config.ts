import type { Config } from "../nn/config.ts";
import { InputError } from "../runtime/errors.ts";

/** What of a UNet2DConditionModel's configuration changes the computation. */
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

/**
 * From diffusers' UNet2DConditionModel config (SD 1.x and 2.x).
 * @throws InputError naming the field, also for options the engine does not have.
 */
export function unetConfig(config: Config): UNetConfig {
  const blockOutChannels = config.sizes("block_out_channels");
  const levels = blockOutChannels.length;
  const attentionOf = (name: string, plain: string, cross: string): boolean[] => {
    const types = config.texts(name);
    if (types.length !== levels) {
      throw new InputError(`${config.file}: "${name}" lists ${types.length} blocks, "block_out_channels" ${levels}`);
    }
    return types.map((type) => {
      if (type !== plain && type !== cross) {
        throw new InputError(`${config.file}: "${name}" has "${type}"; supported are ${plain} and ${cross}`);
      }
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
  if (midType !== "UNetMidBlock2DCrossAttn") {
    throw new InputError(`${config.file}: "mid_block_type" must be UNetMidBlock2DCrossAttn, got ${JSON.stringify(midType)}`);
  }
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
    transformerLayers:
      config.get("transformer_layers_per_block") === undefined
        ? new Array<number>(levels).fill(1)
        : config.perLevel("transformer_layers_per_block", levels),
    crossAttentionDim: config.size("cross_attention_dim"),
    groups: config.size("norm_num_groups", 32),
    epsilon: config.number("norm_eps", 1e-5),
    linearProjection: config.flag("use_linear_projection", false),
    flipSinToCos: config.flag("flip_sin_to_cos", true),
    freqShift: config.number("freq_shift", 0),
  };
}
