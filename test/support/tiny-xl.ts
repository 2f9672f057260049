import { TwoEncoders } from "../../engine/diffusion/model/two-encoders.ts";
import { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import { textEncoderConfig } from "../../engine/diffusion/text-encoder.ts";
import { unetConfig } from "../../engine/diffusion/unet-config.ts";
import { vaeConfig } from "../../engine/diffusion/vae.ts";
import { SYNTHETIC_MODELS, XL_GAINS, syntheticWeights } from "../../engine/loading/synthetic.ts";
import { Config } from "../../engine/nn/config.ts";
import { Parameters } from "../../engine/nn/parameters.ts";
import type { WeightPrecision } from "../../engine/nn/weight-layout.ts";
import type { Device } from "../../engine/runtime/device.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";

const { unet, textEncoder, textEncoder2, vae, scheduler } = SYNTHETIC_MODELS.sdxl;
export const TOKENS = 8;
const BOS = 48;
export const EOS = 49;

const text = { vocab_size: EOS + 1, max_position_embeddings: TOKENS, num_hidden_layers: 2, intermediate_size: 32 };
/** Configurations of a small SDXL. */
export const TINY_XL = {
  text_encoder: { ...textEncoder, ...text, hidden_size: 16, num_attention_heads: 2 },
  text_encoder_2: { ...textEncoder2, ...text, hidden_size: 24, num_attention_heads: 3, projection_dim: 12 },
  unet: {
    ...unet, block_out_channels: [32, 32], transformer_layers_per_block: [1, 2], attention_head_dim: [1, 2], cross_attention_dim: 40,
    addition_time_embed_dim: 8, projection_class_embeddings_input_dim: 60, layers_per_block: 1, sample_size: 8,
    norm_num_groups: 8, // with one channel a group, the norm takes away what a time embedding adds
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"], up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
  },
  vae: {
    ...vae, block_out_channels: [32, 32], layers_per_block: 1,
    up_block_types: vae.up_block_types.slice(0, 2), down_block_types: vae.down_block_types.slice(0, 2),
  },
  scheduler,
};

/** A prompt is its tokens' ids: "5 17 3". */
const tokenizer = {
  maxLength: TOKENS, bosId: BOS, eosId: EOS, padId: EOS, vocabularySize: EOS + 1,
  tokenize: (prompt: string) => (prompt === "" ? [] : prompt.split(" ").map(Number)),
  encode: (prompt: string) => Int32Array.from({ length: TOKENS }, (_, i) => [BOS, ...tokenizer.tokenize(prompt)][i] ?? EOS),
};

/** It with made-up weights. */
export function tinyXl(device: Device, precision: WeightPrecision = "f32"): StableDiffusionPipeline {
  const of = (name: string): Parameters => new Parameters(name, device, syntheticWeights(name, XL_GAINS), precision);
  const config = (fields: object): Config => Config.of("tiny", fields);
  const second = textEncoderConfig(config(TINY_XL.text_encoder_2));
  return new StableDiffusionPipeline({
    device, name: "tiny", scheduler,
    tokenizer: tokenizer as unknown as Tokenizer,
    textEncoder: { config: textEncoderConfig(config(TINY_XL.text_encoder)), parameters: of("text_encoder") },
    second: {
      parameters: of("text_encoder_2"),
      join: (one, parameters) => new TwoEncoders(one, { config: second, parameters, projectionWidth: 12, eosId: EOS, padId: 0 }),
      zerosForNoPrompt: true,
    },
    unet: { config: unetConfig(config(TINY_XL.unet)), parameters: of("unet") },
    vae: { config: vaeConfig(config(TINY_XL.vae)), parameters: of("vae") },
  });
}
