/** What unlearning methods and training tools write, as files that are made here: how each is recognised, loaded, or refused. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { inspectTensorFile } from "../../engine/loading/inspect.ts";
import { type LoadOptions, loadStableDiffusion } from "../../engine/loading/load.ts";
import { overlayWeights } from "../../engine/loading/overlay.ts";
import { weightSource } from "../../engine/nn/weight-source.ts";
import type { WeightSource } from "../../engine/nn/parameters.ts";
import { EMOJI, type RawTensor, type Tensors, emojiTensors, original, prefixed, safetensors, torch, torchTree, zeroed } from "../support/checkpoints.ts";
import { finish, testDevice } from "../support/device.ts";
import { normals } from "../support/op-test.ts";
import { torchFile } from "../support/torch-file.ts";
import { withEmoji } from "../support/with-emoji.ts";

const f32 = (data: Float32Array, ...shape: number[]): RawTensor => ({ dtype: "F32", shape, data: new Uint8Array(data.buffer) });

type Part = "unet" | "text_encoder";

/** The bundled component with a file over it, and what was told. */
async function over(part: Part, bytes: Uint8Array, ema = false): Promise<{ weights: WeightSource; notes: string[] }> {
  const notes: string[] = [];
  const base = weightSource(await openTensorPath(memoryFiles({ base: safetensors(await emojiTensors(part)) }), "base"));
  const weights = await overlayWeights(base, await openTensorPath(memoryFiles({ x: bytes }), "x"), { component: part, layout: { layersPerBlock: [1, 1, 1], textLayers: 3 }, ema, onNote: (note) => notes.push(note) });
  return { weights, notes };
}

/** Which tensors of a component are now zero, having been other numbers. */
async function replaced(part: Part, bytes: Uint8Array, ema = false): Promise<string[]> {
  const { weights } = await over(part, bytes, ema);
  const out: string[] = [];
  for (const [name, { data }] of Object.entries(await emojiTensors(part))) {
    if (data.some((byte) => byte !== 0) && (await weights.readFloat32(name)).every((x) => x === 0)) out.push(name);
  }
  return out.toSorted();
}

async function methodOf(bytes: Uint8Array): Promise<string | undefined> {
  const { trained } = await inspectTensorFile(await openTensorPath(memoryFiles({ x: bytes }), "x"));
  return trained?.method;
}

async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

async function some(part: Part, pattern: RegExp): Promise<Tensors> {
  return zeroed(Object.fromEntries(Object.entries(await emojiTensors(part)).filter(([name]) => pattern.test(name))));
}

test("partial safetensors of new ESD and UCE: the trained tensors are replaced, the others are the base's, which is told", async () => {
  for (const [pattern, method] of [[/attn2\./, /^ESD-x/], [/attn2\.to_[kv]\.weight$/, /^UCE, RECE, ESD-x-strict/], [/^(?!.*attn2)/, /^ESD-u/]] as const) {
    const tensors = await some("unet", pattern);
    const bytes = safetensors(tensors);
    assert.equal(await replaced("unet", bytes), Object.keys(tensors).toSorted());
    const all = Object.keys(await emojiTensors("unet")).length;
    const count = Object.keys(tensors).length;
    assert.equal((await over("unet", bytes)).notes, [`x: replaces ${count} of the UNet's ${all} tensors; the other ${all - count} are the base's`]);
    assert.match((await methodOf(bytes))!, method);
  }
  const { trained } = await inspectTensorFile(await openTensorPath(memoryFiles({ x: safetensors(await some("unet", /attn2\.to_[kv]/)) }), "x"));
  assert.equal([trained!.layers, trained!.needs], [[["attn2.to_k.weight", 7], ["attn2.to_v.weight", 7]], "a base model of context width 128, whose own tensors stay where the file has none"]);
});

test("AdvUnlearn's training output: the encoder's modules twice, folded where they are the same", async () => {
  const text = zeroed(await emojiTensors("text_encoder"));
  const wrapper = (twice: Tensors): Uint8Array => {
    const again = Object.fromEntries(Object.entries(twice).map(([name, tensor]) => [name.replace(/^text_model\./, "").replace(/^embeddings\./, "embedding."), tensor]));
    return torchFile(torchTree({ ...prefixed("text_encoder.", text), ...again }));
  };
  assert.equal(await replaced("text_encoder", wrapper(text)), await replaced("text_encoder", torch(text)));
  assert.match((await methodOf(wrapper(text)))!, /^AdvUnlearn \(its training output/);
  const name = "text_model.encoder.layers.0.mlp.fc1.bias";
  const other = { ...text, [name]: { ...text[name]!, data: text[name]!.data.map(() => 1) } };
  assert.match(await refusal(() => over("text_encoder", wrapper(other))), /"text_encoder\.text_model\.encoder\.layers\.0\.mlp\.fc1\.bias" and "encoder\.layers\.0\.mlp\.fc1\.bias" are the same part of the text encoder and differ/);
});

test("a Concept-Ablation delta: state_dict in the original names, with the embedding beside it", async () => {
  const tensors = await some("unet", /attn2\.to_[kv]/);
  const bytes = torchFile({ state_dict: torchTree(prefixed("model.diffusion_model.", original("unet", tensors))), embed: torchTree({ e: f32(new Float32Array(128), 1, 128) })["e"]! });
  assert.equal(await replaced("unet", bytes), Object.keys(tensors).toSorted());
  assert.match((await over("unet", bytes)).notes[1]!, /1 tensors beside the weights are not used: "embed"/);
  assert.match((await methodOf(bytes))!, /^Concept Ablation/);
});

test("training state and averages beside the weights; --ema takes the averaged copy", async () => {
  const tensors = await some("unet", /attn2\.to_k/);
  const [name] = Object.keys(tensors).toSorted();
  const plain = Object.fromEntries(Object.entries(await emojiTensors("unet")).filter(([n]) => n in tensors));
  const bytes = torchFile({ step: 9, unet_weights: torchTree(plain), ema_weights: torchTree(tensors), optimizer: { state: { 0: torchTree({ exp_avg: f32(new Float32Array(2), 2) }) } } });
  assert.equal(await replaced("unet", bytes), []);
  assert.ok((await replaced("unet", bytes, true)).includes(name!));
  assert.match(await refusal(() => over("unet", torch(tensors), true)), /no averaged \(EMA\) weights/);
});

test("kohya's LoRA, and SPM: only as a LoRA, with a warning", async () => {
  const module = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k";
  const tensors = { [`${module}.lora_down.weight`]: f32(normals(128), 1, 128), [`${module}.lora_up.weight`]: f32(normals(96), 96, 1), [`${module}.alpha`]: f32(Float32Array.of(1)) };
  const spm = safetensors(tensors, { prompts: "church", rank: "1", alpha: "1.0" });
  assert.match((await methodOf(spm))!, /^SPM \(erased: church;/);
  assert.match(await refusal(() => over("unet", spm)), /is an eraser of SPM, whose strength depends on the prompt/);
  const warnings: string[] = [];
  const options: LoadOptions = { lora: [{ file: "spm.safetensors" }], onWarning: (warning) => warnings.push(warning) };
  const model = await loadStableDiffusion(await testDevice(), { files: withEmoji({ "spm.safetensors": spm }), folder: EMOJI }, options);
  await model.destroy();
  assert.match(warnings.join(), /this is not the published model/);
  assert.is(await methodOf(safetensors(tensors)), undefined);
});

test("other files say what they are", async () => {
  const describe = async (tensors: Tensors): Promise<string> => (await inspectTensorFile(await openTensorPath(memoryFiles({ x: safetensors(tensors) }), "x"))).description;
  assert.match(await describe({ "unet:0:down": f32(new Float32Array(4), 1, 4), "unet:0:up": f32(new Float32Array(4), 4, 1), "<s1>": f32(new Float32Array(4), 4) }), /LoRA of cloneofsimo's lora_diffusion, whose modules have numbers/);
  assert.match(await describe({ "encoder.weight": f32(new Float32Array(4), 2, 2), "decoder.weight": f32(new Float32Array(4), 2, 2), pre_bias: f32(new Float32Array(2), 2) }), /a sparse autoencoder: a defence .* in code/);
  const mask = { "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": { dtype: "I64", shape: [2, 2], data: new Uint8Array(32) } } as const;
  assert.match(await describe(mask), /^whole numbers under the names of a UNet .*\(a mask\?\), no weights/);
});

const PATHS = ["down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.1"];
const RANK = 6;

/** An eraser's folder: adapters for some of the model's transformers, random or with a second matrix of zeros. */
async function eraser(random: boolean): Promise<{ files: Record<string, Uint8Array>; tensors: Readonly<Record<string, Record<string, RawTensor>>> }> {
  const unet = await emojiTensors("unet");
  const tensors = Object.fromEntries(PATHS.map((path) => {
    const width = unet[`${path}.proj_in.weight`]!.shape[0]!;
    const numbers = (count: number, own: boolean): Float32Array => (own ? normals(count).map((x) => x / 4) : new Float32Array(count));
    return [path, { "down.weight": f32(numbers(RANK * width, true), RANK, width), "down.bias": f32(numbers(RANK, true), RANK), "up.weight": f32(numbers(width * RANK, random), width, RANK), "up.bias": f32(numbers(width, random), width) }];
  }));
  const weights = torchFile(Object.fromEntries(Object.entries(tensors).map(([path, part]) => [path, torchTree(part)])));
  return { files: { "eraser/eraser_weights.pt": weights, "eraser/eraser_config.json": new TextEncoder().encode(JSON.stringify({ eraser_type: "adapter", eraser_rank: RANK })) }, tensors };
}

const LATENTS = { data: Float32Array.from({ length: 4 * 64 }, (_, i) => Math.sin(i)), shape: [1, 4, 8, 8] };

async function predicted(contents: Record<string, Uint8Array>, options: LoadOptions): Promise<{ noise: Float32Array; captured: (name: string) => Promise<Float32Array> }> {
  const model = await loadStableDiffusion(await testDevice(), { files: withEmoji(contents), folder: EMOJI }, options);
  const context = await model.encodeText(model.tokenizer.encode("a church"));
  const { data: noise } = await model.predictNoise(LATENTS, 500, context);
  const captured = async (name: string): Promise<Float32Array> => {
    const program = await model.program(`captured ${name}`, (g) => {
      const input = (of: string, shape: readonly number[]) => g.input(of, { shape, dtype: "f32" });
      model.recordUNet(g, input("sample", [1, 8, 8, 4]), input("features", [1, model.featureWidth]), input("context", context.shape), false);
      return { outputs: { value: g.captured.get(name)! } };
    });
    const sample = Float32Array.from({ length: 256 }, (_, i) => LATENTS.data[(i % 4) * 64 + Math.floor(i / 4)]!);
    await program.run({ sample, features: model.timestepFeatures([500]), context: context.data });
    return program.readFloats("value");
  };
  return { noise, captured };
}

/** Abramowitz and Stegun 7.1.26's error function is not exact enough here: Taylor's series, for small x. */
function erf(x: number): number {
  let [sum, term] = [0, x];
  for (let n = 0; n < 200; n++) {
    sum += term / (2 * n + 1);
    term *= -(x * x) / (n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

test("Receler's folder: with a second matrix of zeros the model is the base; an adapter adds up(gelu(down(y))) to its attention's output", async () => {
  const none = await eraser(false);
  const plain = await predicted({}, {});
  const idle = await predicted(none.files, { unet: "eraser" });
  assert.ok(idle.noise.every((x, i) => Math.abs(x - plain.noise[i]!) < 1e-5));
  const { files, tensors } = await eraser(true);
  const notes: string[] = [];
  const { noise, captured } = await predicted(files, { unet: "eraser", onNote: (note) => notes.push(note) });
  assert.match(notes.join(), /3 erasers \(Receler\) behind cross attentions/);
  assert.ok(noise.some((x, i) => Math.abs(x - plain.noise[i]!) > 1e-3));
  const path = `${PATHS[1]!}.transformer_blocks.0.attn2`;
  const [y, erased] = [await captured(`${path}.to_out.0`), await captured(path)];
  const numbers = (part: string): Float32Array => new Float32Array(tensors[PATHS[1]!]![part]!.data.slice().buffer);
  const [down, downBias, up, upBias] = ["down.weight", "down.bias", "up.weight", "up.bias"].map(numbers) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const width = upBias.length;
  const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
  for (let row = 0; row < y.length / width; row++) {
    const hidden = Array.from({ length: RANK }, (_, r) => gelu(downBias[r]! + Array.from({ length: width }, (_v, c) => down[r * width + c]! * y[row * width + c]!).reduce((a, b) => a + b, 0)));
    for (let c = 0; c < width; c++) {
      const wanted = y[row * width + c]! + upBias[c]! + hidden.reduce((sum, h, r) => sum + h * up[c * RANK + r]!, 0);
      assert.ok(Math.abs(erased[row * width + c]! - wanted) < 1e-4 * (1 + Math.abs(wanted)), `${row} ${c}: ${erased[row * width + c]} ${wanted}`);
    }
  }
});

test("an eraser of another model, one that is not whole, and one of another type are refused by name", async () => {
  const { tensors } = await eraser(true);
  const bytes = (changed: Readonly<Record<string, Record<string, RawTensor>>>): Uint8Array => torchFile(Object.fromEntries(Object.entries(changed).map(([path, part]) => [path, torchTree(part)])));
  const { "up.bias": _, ...less } = tensors[PATHS[0]!]!;
  assert.match(await refusal(() => over("unet", bytes({ [PATHS[0]!]: less }))), /an eraser lacks its up\.bias \(of "down_blocks\.1\.attentions\.0/);
  assert.match(await refusal(() => over("unet", bytes({ "down_blocks.0.attentions.0": tensors[PATHS[0]!]! }))), /"down_blocks\.0\.attentions\.0" has an eraser, but no cross attention in this model/);
  assert.match(await refusal(() => over("unet", bytes({ [PATHS[0]!]: { ...tensors[PATHS[0]!]!, "up.bias": f32(new Float32Array(5), 5) } }))), /has shape \[5\], an eraser of a layer \d+ wide has \[\d+\]/);
  const { files } = await eraser(true);
  const other = { ...files, "eraser/eraser_config.json": new TextEncoder().encode(JSON.stringify({ eraser_type: "lora" })) };
  assert.match(await refusal(async () => loadStableDiffusion(await testDevice(), { files: withEmoji(other), folder: EMOJI }, { unet: "eraser" })), /eraser_config\.json: "eraser_type" is/);
});

finish();
