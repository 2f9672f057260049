/** Stable Diffusion 1.4's exact shapes with the numbers of `synthetic:sd14`, as the files that people have. */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { SYNTHETIC_MODELS, distribution, hashNumbers } from "../../engine/loading/synthetic.ts";
import { originalNames, sd14Tensors } from "./original-names.ts";
import { type TorchTensor, type TorchTree, torchFileChunks } from "./torch-file.ts";

const { unet, textEncoder, vae, scheduler } = SYNTHETIC_MODELS.sd14;
const PARTS = {
  unet: { config: unet, base: "diffusion_pytorch_model" },
  text_encoder: { config: textEncoder, base: "model" },
  vae: { config: vae, base: "diffusion_pytorch_model" },
} as const;
type Part = keyof typeof PARTS;

/** Bytes of a shard. */
const SHARD = 10 ** 9;

/** @param name in diffusers' names, of which the numbers are made */
function numbers(name: string, shape: readonly number[]): Uint8Array {
  const { mean, std } = distribution(name, shape);
  return new Uint8Array(hashNumbers(name, shape.reduce((a, b) => a * b, 1), mean, std).buffer);
}

function tensor(name: string, shape: readonly number[]): TorchTensor {
  return { dtype: "F32", shape, read: () => numbers(name, shape) };
}

/** `v1-4.ckpt`, 4.3 GB of float32, as the original code saves it. One tensor is in memory at a time. */
export function writeOriginalCheckpoint(file: string): void {
  const state: Record<string, TorchTree[string]> = {};
  for (const [section, prefix] of [["unet sd1", "model.diffusion_model."], ["vae sd1", "first_stage_model."]] as const) {
    for (const { original, names, shape } of originalNames(section)) state[prefix + original] = tensor(names[0]!, shape);
  }
  for (const [name, shape] of sd14Tensors("text_encoder")) {
    if (!name.endsWith("position_ids")) state[`cond_stage_model.transformer.${name}`] = tensor(name, shape);
  }
  mkdirSync(dirname(file), { recursive: true });
  const to = openSync(file, "w");
  for (const chunk of torchFileChunks({ epoch: 0, global_step: 470000, state_dict: state as TorchTree })) {
    for (let at = 0; at < chunk.length;) at += writeSync(to, chunk, at);
  }
  closeSync(to);
}

/** A folder in diffusers layout, float32, each component in shards of at most 1 GB with an index. Tokenizer and merges are left out. */
export function writeShardedFolder(folder: string): void {
  const json = (path: string, value: object): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), JSON.stringify(value));
  };
  json("model_index.json", {
    _class_name: "StableDiffusionPipeline",
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
    text_encoder: ["transformers", "CLIPTextModel"],
    scheduler: ["diffusers", "PNDMScheduler"],
  });
  json("scheduler/scheduler_config.json", scheduler);
  for (const part of Object.keys(PARTS) as Part[]) {
    const { config, base } = PARTS[part];
    json(`${part}/config.json`, config);
    const shards: [string, readonly number[]][][] = [[]];
    let bytes = 0;
    for (const [name, shape] of sd14Tensors(part)) {
      if (name.endsWith("position_ids")) continue;
      const size = 4 * shape.reduce((a, b) => a * b, 1);
      if (bytes + size > SHARD) {
        shards.push([]);
        bytes = 0;
      }
      shards.at(-1)!.push([name, shape]);
      bytes += size;
    }
    const fileOf = (i: number): string =>
      `${base}-${String(i + 1).padStart(5, "0")}-of-${String(shards.length).padStart(5, "0")}.safetensors`;
    for (const [i, tensors] of shards.entries()) writeSafetensors(join(folder, part, fileOf(i)), tensors);
    json(`${part}/${base}.safetensors.index.json`, {
      metadata: {},
      weight_map: Object.fromEntries(shards.flatMap((tensors, i) => tensors.map(([name]) => [name, fileOf(i)]))),
    });
  }
}

function writeSafetensors(file: string, tensors: readonly (readonly [string, readonly number[]])[]): void {
  let offset = 0;
  const header = Object.fromEntries(tensors.map(([name, shape]) => {
    const begin = offset;
    offset += 4 * shape.reduce((a, b) => a * b, 1);
    return [name, { dtype: "F32", shape, data_offsets: [begin, offset] }];
  }));
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const to = openSync(file, "w");
  for (const bytes of [length, padded]) writeSync(to, bytes);
  for (const [name, shape] of tensors) {
    const data = numbers(name, shape);
    for (let at = 0; at < data.length; ) at += writeSync(to, data, at);
  }
  closeSync(to);
}
