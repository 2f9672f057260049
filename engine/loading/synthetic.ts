import type { Shape } from "../../kernels/kernel.ts";
import type { WeightSource } from "../nn/parameters.ts";
import { XL_VAE, xlSchedulerConfig } from "./names/infer.ts";

/**
 * Weights made from their names by integer hashing, the same on every machine: the exact shapes of a real model without its file.
 * A stream of numbers is PCG-RXS-M-XS-32 over a Weyl sequence that starts at the FNV-1a-32 hash of the name; each is uniform with the
 * wanted mean and standard deviation, evaluated in float64 and rounded once to float32.
 */

/** FNV-1a, 32 bits, of a string's UTF-8 bytes. */
export function fnv1a32(text: string): number {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
  return h;
}

/** `count` float32 numbers of the stream named `name`, from its number `start` on. */
export function hashNumbers(name: string, count: number, mean: number, std: number, start = 0): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count);
  const amplitude = Math.sqrt(3) * std;
  let v = (fnv1a32(name) + Math.imul(start, 2654435761)) | 0;
  for (let i = 0; i < count; i++) {
    const state = (Math.imul(v, 747796405) + 2891336453) | 0;
    const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737);
    const u = ((word >>> 22) ^ word) >>> 0;
    out[i] = mean + ((u / 4294967296) * 2 - 1) * amplitude;
    v = (v + 2654435761) | 0;
  }
  return out;
}

/** Standard deviation of a convolution's or linear layer's output for inputs of 1. */
export const GAIN = 1.5;

/** Gains of parameters whose names match, the first that fits; of all others GAIN. */
export type Gains = readonly (readonly [pattern: RegExp, gain: number])[];

/**
 * Of SDXL: without them its text states, which have no final norm, and seventy transformer blocks grow to thousands; with them every
 * activation stays below 50.
 */
export const XL_GAINS: Gains = [
  [/out_proj|\.fc2\.|\.to_out\.|\.ff\.net\.2\.|proj_out/, 0.3],
  [/conv_shortcut/, 1],
];

/** A parameter's mean and standard deviation by its name: the first rule that fits. */
export function distribution(name: string, shape: Shape, gain = GAIN, gains: Gains = []): { mean: number; std: number } {
  if (name.endsWith(".bias")) return { mean: 0, std: 0.02 };
  if (name.includes("norm")) return { mean: 1, std: 0.1 };
  if (name.endsWith("embedding.weight")) return { mean: 0, std: 0.02 };
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1);
  const own = gains.find(([pattern]) => pattern.test(name))?.[1] ?? gain;
  return { mean: 0, std: own / Math.sqrt(fanIn) };
}

/** A source that has whatever tensor it is asked for, of the shape the configuration expects. */
export function syntheticWeights(component: string, gains: Gains = []): WeightSource {
  const shapes = new Map<string, Shape>();
  return {
    name: `synthetic ${component}`,
    shape(tensor, expected) {
      if (expected) shapes.set(tensor, expected);
      return expected ?? shapes.get(tensor);
    },
    names: () => shapes.keys(),
    readFloat32(tensor) {
      const shape = shapes.get(tensor)!;
      const { mean, std } = distribution(tensor, shape, GAIN, gains);
      return Promise.resolve(hashNumbers(tensor, shape.reduce((a, b) => a * b, 1), mean, std));
    },
  };
}

const SCHEDULER = {
  _class_name: "PNDMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  prediction_type: "epsilon",
};

const VIT_L = {
  vocab_size: 49408,
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  max_position_embeddings: 77,
  hidden_act: "quick_gelu",
} as const;

const VAE = {
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  block_out_channels: [128, 256, 512, 512],
  layers_per_block: 2,
  norm_num_groups: 32,
  scaling_factor: 0.18215,
  down_block_types: new Array<string>(4).fill("DownEncoderBlock2D"),
  up_block_types: new Array<string>(4).fill("UpDecoderBlock2D"),
} as const;

/** Configurations of the models that can be built without weights, by name. */
export const SYNTHETIC_MODELS = {
  /** Stable Diffusion 1.4: 860 M UNet, CLIP ViT-L/14 text encoder, VAE. */
  sd14: {
    unet: {
      sample_size: 64,
      in_channels: 4,
      out_channels: 4,
      block_out_channels: [320, 640, 1280, 1280],
      layers_per_block: 2,
      cross_attention_dim: 768,
      attention_head_dim: 8,
      down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
      up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    },
    textEncoder: VIT_L,
    vae: VAE,
    scheduler: SCHEDULER,
  },
  /** Stable Diffusion XL base 1.0: 2.57 B UNet, CLIP ViT-L/14 and OpenCLIP ViT-bigG/14 text encoders, VAE. */
  sdxl: {
    unet: {
      sample_size: 128,
      in_channels: 4,
      out_channels: 4,
      block_out_channels: [320, 640, 1280],
      layers_per_block: 2,
      transformer_layers_per_block: [1, 2, 10],
      attention_head_dim: [5, 10, 20],
      cross_attention_dim: 2048,
      use_linear_projection: true,
      addition_embed_type: "text_time",
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: 2816,
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    },
    textEncoder: VIT_L,
    textEncoder2: {
      vocab_size: 49408,
      hidden_size: 1280,
      intermediate_size: 5120,
      num_hidden_layers: 32,
      num_attention_heads: 20,
      max_position_embeddings: 77,
      hidden_act: "gelu",
      projection_dim: 1280,
    },
    vae: { ...VAE, ...XL_VAE },
    scheduler: xlSchedulerConfig("epsilon"),
    gains: XL_GAINS,
  },
} as const;

export type SyntheticName = keyof typeof SYNTHETIC_MODELS;
