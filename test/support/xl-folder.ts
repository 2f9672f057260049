/** A small SDXL as a folder in diffusers' layout, with hashed numbers. */
import { readFileSync } from "node:fs";
import { float32ToFloat16 } from "../../engine/formats/half.ts";
import { expectedTensors } from "../../engine/loading/expected.ts";
import type { Component } from "../../engine/loading/names/locate.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { Config } from "../../engine/nn/config.ts";
import { type RawTensor, type Tensors, safetensors } from "./checkpoints.ts";
import { TINY_XL } from "./tiny-xl.ts";

export const COMPONENTS = ["text_encoder", "text_encoder_2", "unet", "vae"] as const;
export type Name = (typeof COMPONENTS)[number];
type Configs = Readonly<Record<Name, object>>;

export function half(data: Float32Array<ArrayBuffer>, shape: readonly number[]): RawTensor {
  return { dtype: "F16", shape, data: new Uint8Array(float32ToFloat16(data).buffer) };
}

const whole = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** A component in diffusers' names. @param seed another set of numbers @param configs of the components */
export function tensorsOf(name: Name, seed = "", configs: Configs = TINY_XL): Tensors {
  const shapes = expectedTensors(name as Component, Config.of(name, configs[name]));
  return Object.fromEntries([...shapes].map(([t, shape]) => [t, half(hashNumbers(`${seed}${name}.${t}`, whole(shape), 0, 0.1), shape)]));
}

const json = (value: object): string => JSON.stringify(value);
export const weightsFile = (name: Name, variant = ""): string =>
  `xl/${name}/${name.startsWith("text") ? "model" : "diffusion_pytorch_model"}${variant}.safetensors`;

/** The folder "xl". @param extra more files, or others in the place of its own @param parts components without weights */
export function folder(
  extra: Readonly<Record<string, Uint8Array | string>> = {},
  configs: Configs = TINY_XL,
  parts: readonly string[] = ["scheduler"],
): Record<string, Uint8Array | string> {
  const index = Object.fromEntries([...COMPONENTS, ...parts].map((name) => [name, ["diffusers", "Part"]]));
  return {
    "xl/model_index.json": json({ _class_name: "StableDiffusionXLPipeline", force_zeros_for_empty_prompt: true, ...index }),
    "xl/scheduler/scheduler_config.json": json(TINY_XL.scheduler),
    ...Object.fromEntries(COMPONENTS.map((name) => [`xl/${name}/config.json`, json(configs[name])])),
    ...Object.fromEntries(COMPONENTS.map((name) => [weightsFile(name), safetensors(tensorsOf(name, "", configs))])),
    ...extra,
  };
}

const TOKENIZER = ["vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"];

/** The folder with the bundled model's tokenizer for both encoders: all that a model has. */
export function wholeFolder(): Record<string, Uint8Array | string> {
  const { vocab_size, max_position_embeddings } = JSON.parse(readFileSync("assets/emoji/text_encoder/config.json", "utf8")) as {
    vocab_size: number; max_position_embeddings: number;
  };
  const text = { vocab_size, max_position_embeddings };
  const tokenizers = ["tokenizer", "tokenizer_2"].flatMap((to) =>
    TOKENIZER.map((name) => [`xl/${to}/${name}`, readFileSync(`assets/emoji/tokenizer/${name}`)] as const));
  return folder(Object.fromEntries(tokenizers), {
    ...TINY_XL,
    text_encoder: { ...TINY_XL.text_encoder, ...text },
    text_encoder_2: { ...TINY_XL.text_encoder_2, ...text },
  }, ["scheduler", "tokenizer", "tokenizer_2"]);
}
