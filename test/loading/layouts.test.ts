/** What unlearning methods and training tools write, as files that are made here: how each is recognised, loaded, or refused. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attack } from "../../engine/attack/run.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { inspectTensorFile } from "../../engine/loading/inspect.ts";
import { type LoadOptions, loadStableDiffusion } from "../../engine/loading/load.ts";
import { overlayWeights } from "../../engine/loading/overlay.ts";
import { weightSource } from "../../engine/nn/weight-source.ts";
import type { WeightSource } from "../../engine/nn/parameters.ts";
import {
  EMOJI,
  type RawTensor,
  type Tensors,
  emojiTensors,
  original,
  prefixed,
  safetensors,
  torch,
  torchTree,
  zeroed,
} from "../support/checkpoints.ts";
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
  const weights = await overlayWeights(base, await openTensorPath(memoryFiles({ x: bytes }), "x"), {
    component: part,
    layout: { layersPerBlock: [1, 1, 1], textLayers: 3 },
    ema,
    onNote: (note) => notes.push(note),
  });
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
  for (const [pattern, method] of [
    [/attn2\./, /^ESD-x/],
    [/attn2\.to_[kv]\.weight$/, /^UCE, RECE, ESD-x-strict/],
    [/^(?!.*attn2)/, /^ESD-u/],
  ] as const) {
    const tensors = await some("unet", pattern);
    const bytes = safetensors(tensors);
    assert.equal(await replaced("unet", bytes), Object.keys(tensors).toSorted());
    const all = Object.keys(await emojiTensors("unet")).length;
    const count = Object.keys(tensors).length;
    assert.equal((await over("unet", bytes)).notes, [
      `x: replaces ${count} of the UNet's ${all} tensors; the other ${all - count} are the base's`,
    ]);
    assert.match((await methodOf(bytes))!, method);
  }
  const { trained } = await inspectTensorFile(
    await openTensorPath(memoryFiles({ x: safetensors(await some("unet", /attn2\.to_[kv]/)) }), "x"),
  );
  assert.equal(
    [trained!.layers, trained!.needs],
    [
      [
        ["attn2.to_k.weight", 7],
        ["attn2.to_v.weight", 7],
      ],
      "a base model of context width 128, whose own tensors stay where the file has none",
    ],
  );
});

test("AdvUnlearn's training output: the encoder's modules twice, folded where they are the same", async () => {
  const text = zeroed(await emojiTensors("text_encoder"));
  const wrapper = (twice: Tensors): Uint8Array => {
    const again = Object.fromEntries(
      Object.entries(twice).map(([name, tensor]) => [name.replace(/^text_model\./, "").replace(/^embeddings\./, "embedding."), tensor]),
    );
    return torchFile(torchTree({ ...prefixed("text_encoder.", text), ...again }));
  };
  assert.equal(await replaced("text_encoder", wrapper(text)), await replaced("text_encoder", torch(text)));
  assert.match((await methodOf(wrapper(text)))!, /^AdvUnlearn \(its training output/);
  const name = "text_model.encoder.layers.0.mlp.fc1.bias";
  const other = { ...text, [name]: { ...text[name]!, data: text[name]!.data.map(() => 1) } };
  assert.match(
    await refusal(() => over("text_encoder", wrapper(other))),
    /"text_encoder\.text_model\.encoder\.layers\.0\.mlp\.fc1\.bias" and "encoder\.layers\.0\.mlp\.fc1\.bias" are the same part of the/,
  );
});

test("a Concept-Ablation delta: state_dict in the original names, with the embedding beside it", async () => {
  const tensors = await some("unet", /attn2\.to_[kv]/);
  const bytes = torchFile({
    state_dict: torchTree(prefixed("model.diffusion_model.", original("unet", tensors))),
    embed: torchTree({ e: f32(new Float32Array(128), 1, 128) })["e"]!,
  });
  assert.equal(await replaced("unet", bytes), Object.keys(tensors).toSorted());
  assert.match((await over("unet", bytes)).notes[1]!, /1 tensors beside the weights are not used: "embed"/);
  assert.match((await methodOf(bytes))!, /^Concept Ablation/);
});

test("training state and averages beside the weights; --ema takes the averaged copy", async () => {
  const tensors = await some("unet", /attn2\.to_k/);
  const [name] = Object.keys(tensors).toSorted();
  const plain = Object.fromEntries(Object.entries(await emojiTensors("unet")).filter(([n]) => n in tensors));
  const bytes = torchFile({
    step: 9,
    unet_weights: torchTree(plain),
    ema_weights: torchTree(tensors),
    optimizer: { state: { 0: torchTree({ exp_avg: f32(new Float32Array(2), 2) }) } },
  });
  assert.equal(await replaced("unet", bytes), []);
  assert.ok((await replaced("unet", bytes, true)).includes(name!));
  assert.match(await refusal(() => over("unet", torch(tensors), true)), /no averaged \(EMA\) weights/);
});

test("kohya's LoRA, and SPM: only as a LoRA, with a warning", async () => {
  const module = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k";
  const tensors = {
    [`${module}.lora_down.weight`]: f32(normals(128), 1, 128),
    [`${module}.lora_up.weight`]: f32(normals(96), 96, 1),
    [`${module}.alpha`]: f32(Float32Array.of(1)),
  };
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

/** An eraser of SPM, and the same as a LoRA. */
async function spmFiles(): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const unet = await emojiTensors("unet");
  const modules = Object.keys(unet).filter((name) => /attn2\.to_[kv]\.weight$/.test(name));
  const tensors = Object.fromEntries(
    modules.flatMap((name) => {
      const module = `lora_unet_${name.replace(/\.weight$/, "").replaceAll(".", "_")}`;
      const [out, inner] = unet[name]!.shape as [number, number];
      return [
        [`${module}.lora_down.weight`, f32(normals(inner), 1, inner)],
        [`${module}.lora_up.weight`, f32(normals(out), out, 1)],
        [`${module}.alpha`, f32(Float32Array.of(1))],
      ];
    }),
  );
  return {
    "spm.safetensors": safetensors(tensors, { prompts: "red church,fish", rank: "1", alpha: "1.0" }),
    "plain.safetensors": safetensors(tensors),
  };
}

test("SPM as it is published: the strength is the square of how well the prompt matches what is erased", async () => {
  const contents = await spmFiles();
  const load = async (options: LoadOptions) =>
    loadStableDiffusion(await testDevice(), { files: withEmoji(contents), folder: EMOJI }, options);
  const draw = async (options: LoadOptions, prompt: string): Promise<Float32Array> => {
    const model = await load(options);
    try {
      // the weights of another prompt are on the device first
      const [first] = await model.generate({ prompt: "a dog", steps: 1, scheduler: "ddim" });
      assert.ok(first);
      return (await model.generate({ prompt, steps: 1, scheduler: "ddim", guidance: 3 }))[0]!.array.data;
    } finally {
      await model.destroy();
    }
  };
  const model = await load({ unet: "spm.safetensors" });
  assert.equal(model.parts.transport!.erased, ["red church", "fish"]);
  const encoding = async (prompt: string): Promise<Float32Array> => (await model.encodeText(model.tokenizer.encode(prompt))).data;
  const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const cosine = (a: Float32Array, b: Float32Array): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  for (const [prompt, shared] of [
    ["a small church, red", 1],
    ["a red house", 1 / 2],
    ["a house", 0],
  ] as const) {
    const own = await encoding(prompt);
    const score = Math.max(shared, cosine(own, await encoding("red church")), cosine(own, await encoding("fish")));
    assert.ok(Math.abs((await model.parts.transport!.to(model, prompt)) - score) < 1e-6, prompt);
    const [transported, merged] = [
      await draw({ unet: "spm.safetensors" }, prompt),
      await draw({ lora: [{ file: "plain.safetensors", strength: score ** 2 }] }, prompt),
    ];
    assert.ok(
      transported.every((x, i) => Math.abs(x - merged[i]!) < 1e-4),
      prompt,
    );
  }
  await model.destroy();
});

test("SPM under a gradient: the search holds the strength of the last prompt, what is judged has its own", async () => {
  const contents = await spmFiles();
  const target = { data: new Float32Array(3 * 64 * 64).fill(0.25), shape: [1, 3, 64, 64] };
  const options = { prompt: "a red house", seed: 3, target, tokens: 2, iterations: 2, timesteps: 2, scheduler: "ddim", steps: 1 } as const;
  const judge = async () => ({ success: false, label: "no", score: 0, scores: {} });
  for (const attacker of ["text-grad", "hard-prompt", "cce"] as const) {
    // What is judged and its first mean loss, and the score it was searched with: the one before that of what is judged.
    const losses = async (
      load: LoadOptions,
      seen: { prompt: string; score: number }[] = [],
    ): Promise<{ prompts: string[]; first: number; score: number | undefined }> => {
      const model = await loadStableDiffusion(await testDevice(), { files: withEmoji(contents), folder: EMOJI }, load);
      const { transport } = model.parts;
      if (transport) {
        const to = transport.to.bind(transport);
        transport.to = async (own, prompt) => {
          const score = await to(own, prompt);
          seen.push({ prompt, score });
          return score;
        };
      }
      const all: { prompt: string; loss: number; score: number | undefined }[] = [];
      try {
        await attack(model, { attacker, judge, ...options }, (event) => {
          if (event.type !== "evaluation" || event.evaluation.loss === null) return;
          all.push({ prompt: event.evaluation.prompt, loss: event.evaluation.loss, score: seen.at(-2)?.score });
        });
      } finally {
        await model.destroy();
      }
      return { prompts: all.map(({ prompt }) => prompt), first: all[0]!.loss, score: all[0]!.score };
    };
    const seen: { prompt: string; score: number }[] = [];
    const own = await losses({ unet: "spm.safetensors" }, seen);
    const merged = await losses({ lora: [{ file: "plain.safetensors", strength: own.score! ** 2 }] });
    assert.ok(Math.abs(own.first - merged.first) < 1e-4 * merged.first, `${attacker}: ${own.first} ${merged.first}`);
    assert.ok(own.prompts.length > 1 && own.prompts.every((prompt) => seen.some((one) => one.prompt === prompt)), attacker);
  }
  const model = await loadStableDiffusion(await testDevice(), { files: withEmoji(contents), folder: EMOJI }, { unet: "spm.safetensors" });
  const refused = attack(model, { attacker: "text-grad", judge, ...options, restarts: 2 }, () => undefined);
  await refused.then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /^restarts above 1 compares predictions for several prompts/),
  );
  await model.destroy();
});

test("other files say what they are", async () => {
  const describe = async (tensors: Tensors): Promise<string> =>
    (await inspectTensorFile(await openTensorPath(memoryFiles({ x: safetensors(tensors) }), "x"))).description;
  assert.match(
    await describe({
      "unet:0:down": f32(new Float32Array(4), 1, 4),
      "unet:0:up": f32(new Float32Array(4), 4, 1),
      "<s1>": f32(new Float32Array(4), 4),
    }),
    /LoRA of cloneofsimo's lora_diffusion, whose modules have numbers/,
  );
  assert.match(
    await describe({
      "encoder.weight": f32(new Float32Array(4), 2, 2),
      "decoder.weight": f32(new Float32Array(4), 2, 2),
      pre_bias: f32(new Float32Array(2), 2),
    }),
    /a sparse autoencoder: a defence .* in code/,
  );
  const mask = {
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": { dtype: "I64", shape: [2, 2], data: new Uint8Array(32) },
  } as const;
  assert.match(await describe(mask), /^whole numbers under the names of a UNet .*\(a mask\?\), no weights/);
});

finish();
