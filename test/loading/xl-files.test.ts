/** A small SDXL in the files that people have: a folder, fp16 variants, one file in the original (sgm) names, partial files, LoRA. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type FileSystem, memoryFiles } from "../../engine/formats/file-system.ts";
import { float32ToFloat16 } from "../../engine/formats/half.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { type LoadOptions, loadStableDiffusion } from "../../engine/loading/load.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import type { Parameters } from "../../engine/nn/parameters.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import { type RawTensor, type Tensors, prefixed, safetensors } from "../support/checkpoints.ts";
import { finish, testDevice } from "../support/device.ts";
import { TINY_XL } from "../support/tiny-xl.ts";
import { COMPONENTS, type Name, folder, half, tensorsOf, weightsFile } from "../support/xl-folder.ts";

async function load(files: FileSystem, path = "xl", options: LoadOptions = {}): Promise<StableDiffusion> {
  return loadStableDiffusion(await testDevice(), { files, folder: path }, { partial: true, ...options });
}

const parametersOf = ({ parts }: StableDiffusion, name: Name): Parameters =>
  ({ text_encoder: parts.textEncoder, text_encoder_2: parts.second!, unet: parts.unet, vae: parts.vae })[name].parameters;

/** A weight's bits. */
async function bits(model: StableDiffusion, name: Name, tensor: string): Promise<Buffer> {
  return Buffer.from(float32ToFloat16(await parametersOf(model, name).source.readFloat32(tensor)).buffer);
}

const RESNET = {
  norm1: "in_layers.0", conv1: "in_layers.2", time_emb_proj: "emb_layers.1", norm2: "out_layers.0", conv2: "out_layers.3",
  conv_shortcut: "skip_connection",
};

/** The UNet's name in sgm's checkpoints, of one layer a block (generative-models, sgm/modules/diffusionmodules/openaimodel.py). */
function sgmUnet(name: string): string {
  const inner = (rest: string): string => rest.replace(/^(\w+)/, (part) => RESNET[part as keyof typeof RESNET] ?? part);
  const attends = (block: string): boolean => TINY_XL.unet.up_block_types[Number(block)]!.startsWith("CrossAttn");
  return name
    .replace(/^time_embedding\.linear_([12])/, (_, n) => `time_embed.${n === "1" ? 0 : 2}`)
    .replace(/^add_embedding\.linear_([12])/, (_, n) => `label_emb.0.${n === "1" ? 0 : 2}`)
    .replace(/^conv_in/, "input_blocks.0.0").replace(/^conv_norm_out/, "out.0").replace(/^conv_out/, "out.2")
    .replace(/^down_blocks\.(\d)\.resnets\.0\.(.*)/, (_, i, rest: string) => `input_blocks.${1 + 2 * Number(i)}.0.${inner(rest)}`)
    .replace(/^down_blocks\.(\d)\.attentions\.0/, (_, i) => `input_blocks.${1 + 2 * Number(i)}.1`)
    .replace(/^down_blocks\.(\d)\.downsamplers\.0\.conv/, (_, i) => `input_blocks.${2 * (Number(i) + 1)}.0.op`)
    .replace(/^mid_block\.resnets\.(\d)\.(.*)/, (_, j, rest: string) => `middle_block.${2 * Number(j)}.${inner(rest)}`)
    .replace(/^mid_block\.attentions\.0/, "middle_block.1")
    .replace(/^up_blocks\.(\d)\.resnets\.(\d)\.(.*)/, (_, i, j, rest: string) => {
      return `output_blocks.${2 * Number(i) + Number(j)}.0.${inner(rest)}`;
    })
    .replace(/^up_blocks\.(\d)\.attentions\.(\d)/, (_, i, j) => `output_blocks.${2 * Number(i) + Number(j)}.1`)
    .replace(/^up_blocks\.(\d)\.upsamplers\.0/, (_, i) => `output_blocks.${2 * Number(i) + 1}.${attends(i) ? 2 : 1}`);
}

/** The VAE's, of two levels. */
function sgmVae(name: string): string {
  return name
    .replace(/down_blocks\.(\d)\.resnets\.(\d)/, "down.$1.block.$2")
    .replace(/down_blocks\.(\d)\.downsamplers\.0/, "down.$1.downsample")
    .replace(/up_blocks\.(\d)\.resnets\.(\d)/, (_, i, j) => `up.${1 - Number(i)}.block.${j}`)
    .replace(/up_blocks\.(\d)\.upsamplers\.0/, (_, i) => `up.${1 - Number(i)}.upsample`)
    .replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    .replace("mid_block.attentions.0", "mid.attn_1")
    .replace("group_norm", "norm").replace("to_out.0", "proj_out").replace(/to_([qkv])\./, "$1.")
    .replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut");
}

/** The second encoder as OpenCLIP keeps it: queries, keys and values stacked, the projection transposed. */
function openClip(tensors: Tensors): Tensors {
  const out: Record<string, RawTensor> = {};
  const numbers = ({ data }: RawTensor): Uint16Array => new Uint16Array(data.slice().buffer);
  for (const [name, tensor] of Object.entries(tensors)) {
    if (/[kv]_proj/.test(name)) continue;
    const plain = name
      .replace("text_model.embeddings.token_embedding", "token_embedding")
      .replace("text_model.embeddings.position_embedding.weight", "positional_embedding")
      .replace("text_model.final_layer_norm", "ln_final").replace("text_model.encoder.layers", "transformer.resblocks")
      .replace("self_attn.out_proj", "attn.out_proj").replace("layer_norm", "ln_")
      .replace("mlp.fc1", "mlp.c_fc").replace("mlp.fc2", "mlp.c_proj");
    if (name === "text_projection.weight") {
      const [rows, columns] = tensor.shape as [number, number];
      const [from, to] = [numbers(tensor), new Uint16Array(rows * columns)];
      for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j]!;
      out["text_projection"] = { ...tensor, shape: [columns, rows], data: new Uint8Array(to.buffer) };
    } else if (name.includes("q_proj")) {
      const parts = ["q", "k", "v"].map((part) => tensors[name.replace("q_proj", `${part}_proj`)]!);
      const key = plain.replace("self_attn.q_proj.", "attn.in_proj_");
      out[key] = { ...tensor, shape: [3 * tensor.shape[0]!, ...tensor.shape.slice(1)], data: Buffer.concat(parts.map(({ data }) => data)) };
    } else out[plain] = tensor;
  }
  return out;
}

const renamed = (tensors: Tensors, name: (old: string) => string): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([old, tensor]) => [name(old), tensor]));

test("one file in sgm's names holds the folder's model, bit for bit, and what has no place in it is left alone", async () => {
  const vae = Object.fromEntries(Object.entries(renamed(tensorsOf("vae"), sgmVae)).map(([name, tensor]) =>
    [name, /attn_1\.(q|k|v|proj_out)\.weight/.test(name) ? { ...tensor, shape: [...tensor.shape, 1, 1] } : tensor]));
  const file = safetensors({
    ...prefixed("model.diffusion_model.", renamed(tensorsOf("unet"), sgmUnet)),
    ...prefixed("first_stage_model.", vae),
    ...prefixed("conditioner.embedders.0.transformer.", tensorsOf("text_encoder")),
    ...prefixed("conditioner.embedders.1.model.", openClip(tensorsOf("text_encoder_2"))),
    "conditioner.embedders.1.model.logit_scale": half(Float32Array.of(4), []),
    "denoiser.sigmas": half(new Float32Array(1000), [1000]),
  });
  const files = memoryFiles({ ...folder(), "one.safetensors": file });
  const [from, single] = [await load(files), await load(files, "one.safetensors", { config: "xl" })];
  assert.ok(from.isXl && single.isXl);
  for (const name of COMPONENTS) {
    for (const tensor of Object.keys(tensorsOf(name))) {
      assert.ok((await bits(from, name, tensor)).equals(await bits(single, name, tensor)), `${name} ${tensor}`);
    }
  }
});

test("fp16 files are read for f16 weights, and the VAE stays float32, its operands too", async () => {
  const variants = Object.fromEntries(COMPONENTS.map((name) => [weightsFile(name, ".fp16"), safetensors(tensorsOf(name, "fp16 "))]));
  const files = memoryFiles(folder(variants));
  const [full, halves] = [await load(files), await load(files, "xl", { weights: "f16" })];
  for (const name of COMPONENTS) {
    const tensor = Object.keys(tensorsOf(name))[0]!;
    assert.not((await bits(full, name, tensor)).equals(await bits(halves, name, tensor)), name);
    assert.ok((await bits(halves, name, tensor)).equals(Buffer.from(tensorsOf(name, "fp16 ")[tensor]!.data)), name);
    assert.is(parametersOf(halves, name).precision, name === "vae" ? "f32" : "f16");
  }
  const g = new Graph();
  const image = halves.recordDecoder(g, g.input("latents", { shape: [1, 4, 4, 4], dtype: "f32" }));
  const told = new Set(g.nodes.filter((n) => n.kernel).map((n) => n.precise));
  assert.equal([...told], [true]);
  assert.ok(makeSchedule(g, [image], (await testDevice()).capabilities).steps.length > 10);
});

test("a partial file of an erased UNet (ESD-x and UCE of SDXL) changes what it holds, and nothing else", async () => {
  const own = Object.entries(tensorsOf("unet", "erased ")).filter(([name]) => /attn2\.to_[kv]\.weight$/.test(name));
  assert.ok(own.length > 0);
  const files = memoryFiles({ ...folder(), "erased.safetensors": safetensors(Object.fromEntries(own)) });
  const [before, after] = [await load(files), await load(files, "xl", { unet: "erased.safetensors" })];
  for (const tensor of Object.keys(tensorsOf("unet"))) {
    const changed = own.find(([name]) => name === tensor);
    assert.is((await bits(before, "unet", tensor)).equals(await bits(after, "unet", tensor)), changed === undefined, tensor);
    if (changed) assert.ok((await bits(after, "unet", tensor)).equals(Buffer.from(changed[1].data)));
  }
});

const MODULES = {
  unet: "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
  text_encoder: "text_model.encoder.layers.0.self_attn.q_proj",
  text_encoder_2: "text_model.encoder.layers.1.mlp.fc1",
} as const;
const KOHYA = { unet: "lora_unet", text_encoder: "lora_te1", text_encoder_2: "lora_te2" } as const;

test("a LoRA of UNet and both encoders is the same in kohya's, diffusers' and PEFT's names", async () => {
  const rank = 2;
  const files: Record<string, Record<string, RawTensor>> = { kohya: {}, diffusers: {}, peft: {} };
  for (const [name, module] of Object.entries(MODULES) as [keyof typeof MODULES, string][]) {
    const [out, inner] = tensorsOf(name)[`${module}.weight`]!.shape as [number, number];
    const down = half(hashNumbers(`${name} down`, rank * inner, 0, 0.3), [rank, inner]);
    const up = half(hashNumbers(`${name} up`, out * rank, 0, 0.3), [out, rank]);
    const kohya = `${KOHYA[name]}_${module.replaceAll(".", "_")}`;
    const alpha = half(Float32Array.of(rank), []);
    Object.assign(files["kohya"]!, { [`${kohya}.lora_down.weight`]: down, [`${kohya}.lora_up.weight`]: up, [`${kohya}.alpha`]: alpha });
    const lora = name === "unet" ? "lora" : "lora_linear_layer";
    Object.assign(files["diffusers"]!, { [`${name}.${module}.${lora}.down.weight`]: down, [`${name}.${module}.${lora}.up.weight`]: up });
    Object.assign(files["peft"]!, { [`${name}.${module}.lora_A.weight`]: down, [`${name}.${module}.lora_B.weight`]: up });
  }
  const written = Object.entries(files).map(([name, tensors]) => [`${name}.safetensors`, safetensors(tensors)] as const);
  const all = memoryFiles({ ...folder(), ...Object.fromEntries(written) });
  const plain = await load(all);
  const merged = await Promise.all(written.map(([file]) => load(all, "xl", { lora: [{ file, strength: 0.5 }] })));
  for (const [name, module] of Object.entries(MODULES) as [keyof typeof MODULES, string][]) {
    const tensor = `${module}.weight`;
    const before = await parametersOf(plain, name).source.readFloat32(tensor);
    const [out, inner] = tensorsOf(name)[tensor]!.shape as [number, number];
    const [down, up] = [hashNumbers(`${name} down`, rank * inner, 0, 0.3), hashNumbers(`${name} up`, out * rank, 0, 0.3)];
    for (const model of merged) {
      const after = await parametersOf(model, name).source.readFloat32(tensor);
      for (const at of [0, inner - 1, out * inner - 1]) {
        const [row, column] = [Math.floor(at / inner), at % inner];
        const added = 0.5 * (up[row * rank]! * down[column]! + up[row * rank + 1]! * down[inner + column]!);
        assert.ok(Math.abs(after[at]! - before[at]! - added) < 2e-4, `${name}: ${after[at]! - before[at]!}, ${added}`);
      }
      assert.equal(after, await parametersOf(merged[0]!, name).source.readFloat32(tensor));
    }
  }
});

finish();
