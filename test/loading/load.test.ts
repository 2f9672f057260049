import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FormatError } from "../../engine/formats/errors.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { float16ToFloat32, float32ToFloat16 } from "../../engine/formats/half.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { openSingleFile, type SingleFileOptions } from "../../engine/loading/load-file.ts";
import type { OpenModel } from "../../engine/loading/open-model.ts";
import { type LoadOptions, loadStableDiffusion } from "../../engine/loading/load.ts";
import { loadTokenizer } from "../../engine/diffusion/tokenizer-folder.ts";
import { overlayWeights } from "../../engine/loading/overlay.ts";
import { weightSource } from "../../engine/nn/weight-source.ts";
import { nodeFiles, readBytes } from "../../engine/platform/node-files.ts";
import { InputError } from "../../engine/runtime/errors.ts";
import {
  EMOJI,
  type RawTensor,
  type Tensors,
  averaged,
  emojiTensors,
  openClip,
  original,
  originalCheckpoint,
  prefixed,
  readTensors,
  safetensors,
  torch,
  torchTree,
  zeroed,
} from "../support/checkpoints.ts";
import { finish, testDevice } from "../support/device.ts";
import { withEmoji } from "../support/with-emoji.ts";
import { torchFile } from "../support/torch-file.ts";

async function open(bytes: Uint8Array, options: Partial<SingleFileOptions> = {}): Promise<OpenModel> {
  const files = withEmoji({ "model.ckpt": bytes });
  return openSingleFile(files, "model.ckpt", {
    config: EMOJI,
    readTokenizer: (folder, length) => loadTokenizer(files, folder, length),
    ...options,
  });
}

/** Every tensor of the bundled model is there, bit for bit. */
async function same(model: OpenModel): Promise<void> {
  for (const [part, component] of [["unet", model.unet], ["text_encoder", model.textEncoder], ["vae", model.vae!]] as const) {
    for (const [name, { data }] of Object.entries(await emojiTensors(part))) {
      const half = new Uint16Array(data.slice().buffer);
      const values = await component.weights.readFloat32(name);
      assert.is(values.length, half.length, name);
      assert.ok(Buffer.from(float32ToFloat16(values).buffer).equals(Buffer.from(half.buffer)), name);
    }
  }
}

async function refuses(work: () => Promise<unknown>, pattern: RegExp): Promise<void> {
  let thrown: unknown;
  try {
    await work();
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown instanceof InputError || thrown instanceof FormatError, `expected a refusal like ${pattern}, got ${String(thrown)}`);
  assert.match(thrown.message, pattern);
}

const f32 = (data: Float32Array, ...shape: number[]) => ({ dtype: "F32" as const, shape, data: new Uint8Array(data.buffer) });

test("a single file in the original names, safetensors and .ckpt", async () => {
  const tensors = await originalCheckpoint();
  await same(await open(safetensors(tensors)));
  await same(
    await open(torchFile({ epoch: 3, global_step: 470000, state_dict: torchTree(tensors), "pytorch-lightning_version": "1.4.2" })),
  );
  await same(await open(torch(prefixed("module.", tensors))));
});

test("averaged weights only when asked for", async () => {
  const tensors = await originalCheckpoint();
  const unet = original("unet", await emojiTensors("unet"));
  const decay = f32(Float32Array.of(0.9999));
  await same(await open(torchFile({ state_dict: torchTree({ ...tensors, ...averaged(zeroed(unet)), "model_ema.decay": decay }) })));
  await same(
    await open(
      torchFile({
        state_dict: torchTree({
          ...tensors,
          ...prefixed("model.diffusion_model.", zeroed(unet)),
          ...averaged(unet),
          "model_ema.decay": decay,
        }),
      }),
      { ema: true },
    ),
  );
  await refuses(async () => open(safetensors(tensors), { ema: true }), /no averaged \(EMA\) weights/);
  await refuses(() => outputs(EMOJI, {}, { ema: true }), /a folder has no averaged \(EMA\) weights/);
  await refuses(
    () => outputs(EMOJI, {}, { ema: true, unet: ESD }),
    /ESDx-church-UNet\.pt: has no averaged \(EMA\) weights to take; it looks like a UNet/,
  );
});

test("OpenCLIP's text encoder: fused projections, the last block left out", async () => {
  const tensors = Object.fromEntries(Object.entries(await originalCheckpoint()).filter(([name]) => !name.startsWith("cond_stage_model.")));
  await same(
    await open(safetensors({ ...tensors, ...prefixed("cond_stage_model.model.", openClip(await emojiTensors("text_encoder"), 3, 128)) })),
  );
});

test("diffusers' names with a pipeline's prefixes, nested; older VAE and text encoder names", async () => {
  const [unet, vae, text] = [await emojiTensors("unet"), await emojiTensors("vae"), await emojiTensors("text_encoder")];
  await same(await open(safetensors({ ...prefixed("unet.", unet), ...prefixed("vae.", vae), ...prefixed("text_encoder.", text) })));
  await same(await open(torchFile({ unet: torchTree(unet), vae: torchTree(vae), text_encoder: torchTree(text) })));
  const older = Object.fromEntries(
    Object.entries(vae).map(([name, tensor]) => [
      name.replace("to_q", "query").replace("to_k", "key").replace("to_v", "value").replace("to_out.0", "proj_attn"),
      tensor,
    ]),
  );
  const bare = Object.fromEntries(Object.entries(text).map(([name, tensor]) => [name.replace("text_model.", ""), tensor]));
  await same(
    await open(safetensors({ ...prefixed("unet.", unet), ...prefixed("vae.", older), ...prefixed("cond_stage_model.transformer.", bare) })),
  );
});

test("what is not a whole model is refused by what it looks like", async () => {
  const tensors = await originalCheckpoint();
  const unet = await emojiTensors("unet");
  await refuses(
    async () => open(safetensors(unet)),
    /holds no text encoder; it looks like a UNet of a model of context width 128 \(diffusers names\): give a whole model, and this file/,
  );
  await refuses(async () => open(safetensors(await emojiTensors("vae"))), /looks like a VAE \(diffusers names\), not a model/);
  await refuses(
    async () => open(safetensors({ "lora_unet_conv_in.lora_down.weight": f32(new Float32Array(4), 4, 1) })),
    /looks like a LoRA for an unknown model .*, not a model/,
  );
  const { "model.diffusion_model.middle_block.1.proj_in.weight": _, ...less } = tensors;
  await refuses(async () => open(safetensors(less)), /its UNet lacks 1 tensors, e\.g\. mid_block\.attentions\.0\.proj_in\.weight/);
  await refuses(
    async () => open(safetensors({ ...tensors, "model.diffusion_model.out.2.bias": f32(new Float32Array(5), 5) })),
    /"conv_out.bias" has shape \[5\], by .*unet\/config\.json it should be \[4\]/,
  );
  await refuses(async () => open(safetensors(tensors), { config: undefined }), /48, 64, 96 channels, not all multiples of 32/);
  const noVae = Object.fromEntries(Object.entries(tensors).filter(([name]) => !name.startsWith("first_stage_model.")));
  await refuses(async () => open(safetensors(noVae)), /holds no VAE/);
  assert.is((await open(safetensors(noVae), { partial: true })).vae, undefined);
});

const ESD = "assets/emoji/unlearned/esd-x-church/ESDx-church-UNet.pt";
const UCE = "assets/emoji/unlearned/uce-like-church/unet.safetensors";
const ADV = "assets/emoji/unlearned/advunlearn-like-church/text_encoder.safetensors";

/** Noise predictions and encodings of a loaded model, as bytes. */
async function outputs(model: string, contents: Readonly<Record<string, Uint8Array>> = {}, options: LoadOptions = {}): Promise<string> {
  const loaded = await loadStableDiffusion(await testDevice(), { files: withEmoji(contents), folder: model }, options);
  try {
    const context = await loaded.encodeText(loaded.tokenizer.encode("a church"));
    const latents = { data: Float32Array.from({ length: 4 * 64 }, (_, i) => Math.sin(i)), shape: [1, 4, 8, 8] };
    const noise = await loaded.predictNoise(latents, 500, context);
    const image = await loaded.decodeLatents(latents);
    const all = [context, noise, image].map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64"));
    assert.ok(noise.data.every(Number.isFinite));
    return all.join(" ");
  } finally {
    await loaded.destroy();
  }
}

/**
 * The bundled model as another folder: float32, the UNet in two shards, the VAE in the names of older releases, the text encoder as
 * PyTorch's.
 */
async function otherFolder(): Promise<Record<string, Uint8Array>> {
  const out: Record<string, Uint8Array> = {};
  for (const name of [
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
  ]) {
    out[`folder/${name}`] = await readBytes(`${EMOJI}/${name}`);
  }
  const wide = async (part: "unet" | "vae" | "text_encoder"): Promise<[string, RawTensor][]> =>
    Object.entries(await emojiTensors(part)).map(([name, { shape, data }]) => [
      name,
      f32(float16ToFloat32(new Uint16Array(data.slice().buffer)), ...shape),
    ]);
  const unet = await wide("unet");
  const shards = [unet.slice(0, 100), unet.slice(100)];
  shards.forEach(
    (shard, i) => (out[`folder/unet/diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`] = safetensors(Object.fromEntries(shard))),
  );
  const map = Object.fromEntries(
    shards.flatMap((shard, i) => shard.map(([name]) => [name, `diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`])),
  );
  out["folder/unet/diffusion_pytorch_model.safetensors.index.json"] = new TextEncoder().encode(JSON.stringify({ weight_map: map }));
  const older = (name: string): string =>
    name.replace("to_q", "query").replace("to_k", "key").replace("to_v", "value").replace("to_out.0", "proj_attn");
  out["folder/vae/diffusion_pytorch_model.bin"] = torch(Object.fromEntries((await wide("vae")).map(([name, t]) => [older(name), t])));
  out["folder/text_encoder/pytorch_model.bin"] = torch(Object.fromEntries(await wide("text_encoder")));
  return out;
}

test("on the device: the same weights through every layout give the same bits", async () => {
  const base = await outputs(EMOJI);
  const tensors = await originalCheckpoint();
  assert.is(await outputs("m.safetensors", { "m.safetensors": safetensors(tensors) }, { config: EMOJI }), base);
  assert.is(await outputs("m.ckpt", { "m.ckpt": torchFile({ state_dict: torchTree(tensors) }) }, { config: EMOJI }), base);
  assert.is(await outputs("folder", await otherFolder()), base);
  assert.is(await outputs(EMOJI, { "u.pt": torch(original("unet", await emojiTensors("unet"))) }, { unet: "u.pt" }), base);
  assert.is.not(await outputs(EMOJI, {}, { unet: UCE, textEncoder: ADV }), base);
});

/** Every tensor of the bundled UNet or text encoder as read through an overlay, hashed. */
async function overlaid(part: "unet" | "text_encoder", bytes: Uint8Array): Promise<string> {
  const base = weightSource(
    await openTensorPath(nodeFiles, `${EMOJI}/${part}/${part === "unet" ? "diffusion_pytorch_model" : "model"}.safetensors`),
  );
  const weights = await overlayWeights(base, await openTensorPath(memoryFiles({ x: bytes }), "x"), {
    component: part,
    layout: { layersPerBlock: [1, 1, 1], textLayers: 3 },
  });
  const hash = createHash("sha256");
  for (const name of weights.names()) hash.update(name).update(await weights.readFloat32(name));
  await weights.close?.();
  return hash.digest("hex");
}

test("overlays in every form", async () => {
  const unet = await readTensors(ESD);
  const esd = await overlaid("unet", await readBytes(ESD));
  assert.is.not(esd, await overlaid("unet", safetensors(await emojiTensors("unet"))));
  const crossAttention = Object.fromEntries(Object.entries(unet).filter(([name]) => name.includes("attn2")));
  const forms = {
    module: torch(prefixed("module.", unet)),
    nested: torchFile({ unet: torchTree(unet) }),
    model: torchFile({ epoch: 1, model: torchTree(prefixed("unet.", unet)) }),
    CompVis: torch(prefixed("model.diffusion_model.", original("unet", unet))),
    bare: torch(original("unet", unet)),
    checkpoint: safetensors({ ...(await originalCheckpoint()), ...prefixed("model.diffusion_model.", original("unet", unet)) }),
    part: safetensors(crossAttention), // what ESD-x trains
    "part in CompVis names": torchFile({ state_dict: torchTree(prefixed("model.diffusion_model.", original("unet", crossAttention))) }),
  };
  for (const [form, bytes] of Object.entries(forms)) assert.is(await overlaid("unet", bytes), esd, form);
  const text: Tensors = { ...(await emojiTensors("text_encoder")), ...(await readTensors(ADV)) };
  const adv = await overlaid("text_encoder", await readBytes(ADV));
  const texts = {
    wrapped: torchFile({ state_dict: torchTree(prefixed("module.text_encoder.", text)) }),
    ldm: torch(prefixed("cond_stage_model.transformer.", text)),
    openClip: safetensors(openClip(text, 3, 128)),
    checkpoint: safetensors({ ...(await originalCheckpoint()), ...prefixed("cond_stage_model.transformer.", text) }),
  };
  for (const [form, bytes] of Object.entries(texts)) assert.is(await overlaid("text_encoder", bytes), adv, form);
});

test("overlays of another kind are refused by what they look like", async () => {
  const attempt = (contents: Record<string, Uint8Array>, options: LoadOptions) => () => outputs(EMOJI, contents, options);
  const [unet, text, vae] = [await emojiTensors("unet"), await emojiTensors("text_encoder"), await emojiTensors("vae")];
  await refuses(attempt({ "x.pt": torch(text) }, { unet: "x.pt" }), /x\.pt: looks like a text encoder .* not UNet weights/);
  await refuses(attempt({ "x.pt": torch(unet) }, { textEncoder: "x.pt" }), /x\.pt: looks like a UNet .* not text encoder weights/);
  await refuses(attempt({ "x.pt": torch(vae) }, { unet: "x.pt" }), /looks like a VAE/);
  const to = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k";
  const lora = {
    [`${to}.lora_down.weight`]: f32(new Float32Array(512), 4, 128),
    [`${to}.lora_up.weight`]: f32(new Float32Array(384), 96, 4),
  };
  await refuses(
    attempt({ "x.safetensors": safetensors(lora) }, { textEncoder: "x.safetensors" }),
    /looks like a LoRA for a model of context width 128 \(kohya names, rank 4: 1 UNet modules\), not text encoder weights/,
  );
  const sd1 = { "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": f32(new Float32Array(96 * 768), 96, 768) };
  await refuses(
    attempt({ "x.pt": torch(sd1) }, { unet: "x.pt" }),
    /looks like a UNet of SD 1\.x .*, but the model it is laid over is a model of context width 128/,
  );
  await refuses(
    attempt({ "x.pt": torch({ ...unet, "conv_in.bias": f32(new Float32Array(3), 3) }) }, { unet: "x.pt" }),
    /"conv_in.bias" has shape \[3\], the UNet of this model has \[48\]/,
  );
  await refuses(
    attempt({ "x.pt": torch({ ...unet, "foo.bar": f32(new Float32Array(3), 3) }) }, { unet: "x.pt" }),
    /tensor "foo\.bar" is none of this UNet's/,
  );
  await refuses(
    attempt({ "x.pt": torch({ "down_blocks.7.resnets.0.conv1.weight": f32(new Float32Array(1), 1) }) }, { unet: "x.pt" }),
    /"down_blocks\.7\.resnets\.0\.conv1\.weight" is none of this UNet's; is it made for another model/,
  );
  await refuses(
    attempt(
      { "x.pt": torch({ "model.diffusion_model.input_blocks.30.0.in_layers.0.weight": f32(new Float32Array(1), 1) }) },
      { unet: "x.pt" },
    ),
    /has no place in a UNet of 3 levels of 1, 1, 1 layers/,
  );
  await refuses(attempt({ "x.pt": torch(unet) }, { lora: [{ file: "x.pt" }] }), /looks like a UNet .*, not a low-rank file/);
});

finish();
