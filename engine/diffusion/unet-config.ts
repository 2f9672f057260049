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
  /** What is added to the time embedding (SDXL); absent: nothing. */
  readonly addition?: UNetAddition;
}

/** Conditions that SDXL's UNet takes through its time embedding: the pooled text and six numbers on sizes, each as a sinusoid. */
export interface UNetAddition {
  /** Width of the pooled text. */
  readonly pooledWidth: number;
  /** Width of one number's sinusoid. */
  readonly sinusoidWidth: number;
}

/** Original height and width, crop top and left, target height and width. */
export const SIZE_NUMBERS = 6;

/** Width of the features that a UNet takes of timestep and sizes: see `timestepFeatures`. */
export function featureWidth({ blockOutChannels, addition }: Pick<UNetConfig, "blockOutChannels" | "addition">): number {
  return blockOutChannels[0]! + (addition ? SIZE_NUMBERS * addition.sinusoidWidth : 0);
}

/**
 * From diffusers' UNet2DConditionModel config (SD 1.x, 2.x and XL).
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
  config.refuse("addition_embed_type", ["text_time"]);
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
  config.refuse("time_cond_proj_dim", []);
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
    ...(config.get("addition_embed_type") === "text_time" && { addition: additionOf(config) }),
  };
}

/** @throws InputError if the embedding's input leaves no room for a pooled text, or that is wider than an encoding's rows */
function additionOf(config: Config): UNetAddition {
  const sinusoidWidth = config.size("addition_time_embed_dim", 256);
  const inputWidth = config.size("projection_class_embeddings_input_dim");
  const pooledWidth = inputWidth - SIZE_NUMBERS * sinusoidWidth;
  if (config.get("cross_attention_dim") === 1280 && inputWidth === 1280 + 5 * 256) throw refiner(config.file);
  if (pooledWidth < 1 || pooledWidth > config.size("cross_attention_dim") || sinusoidWidth % 2 !== 0) {
    throw new InputError(
      `${config.file}: "projection_class_embeddings_input_dim" ${inputWidth} must be ${SIZE_NUMBERS} sinusoids of an even ` +
        `"addition_time_embed_dim" (${sinusoidWidth}) and a pooled text no wider than "cross_attention_dim"`,
    );
  }
  return { pooledWidth, sinusoidWidth };
}

/** The refiner takes an aesthetic score and pictures that another model has begun. */
export function refiner(file: string): InputError {
  return new InputError(
    `${file}: is the refiner of Stable Diffusion XL, which only finishes pictures of the base model and is not supported: ` +
      "give the base model",
  );
}
