// Files in the authors' layouts: written from the bundled model with some of its tensors changed, recognised and loaded again.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type FileSystem, memoryFiles, readTextFile } from "../../engine/formats/file-system.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { joinPieces } from "../../engine/formats/store.ts";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import { inspectTensorFile } from "../../engine/loading/inspect.ts";
import { type LoadOptions, loadStableDiffusion } from "../../engine/loading/load.ts";
import { lowRankTargets } from "../../engine/loading/names/low-rank.ts";
import { originalUNetNames } from "../../engine/loading/names/unet-original.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { type Changed, LAYOUTS, type LayoutName, outputFiles } from "../../engine/unlearn/files/layouts.ts";
import { unlearn, writtenChanges } from "../../engine/unlearn/index.ts";
import type { LowRankModule } from "../../engine/unlearn/files/low-rank-names.ts";
import { EMOJI } from "../support/checkpoints.ts";
import { finish, testDevice } from "../support/device.ts";
import { relativeL2 } from "../support/fixtures.ts";
import { originalNames } from "../support/original-names.ts";

const device = await testDevice();
const model = await loadStableDiffusion(device, { files: nodeFiles, folder: EMOJI });
const text = model.parts.textEncoder.parameters;
const unet = model.parts.unet.parameters;

/** Some tensors with other numbers. */
async function changed(component: "unet" | "text_encoder", pattern: RegExp): Promise<Changed & { numbers: Map<string, NDArray> }> {
  const parameters = component === "unet" ? unet : text;
  const tensors = new Map<string, NDArray>();
  for (const name of parameters.source.names()) {
    if (!pattern.test(name)) continue;
    const data = (await parameters.source.readFloat32(name)).map((x, i) => x + 1 + (i % 7));
    tensors.set(name, { data, shape: parameters.storedShape(name) as number[] });
  }
  const lazy = [...tensors].map(([name, { data, shape }]) => ({ component, name, shape, read: async () => data }));
  return { tensors: lazy, numbers: tensors };
}

/** A layout's files in memory, the output called `out`. */
async function written(layout: LayoutName, what: Changed): Promise<FileSystem> {
  const out = `out${LAYOUTS[layout].ending}`;
  const files: Record<string, Uint8Array> = {};
  for (const { name, pieces } of await outputFiles(layout, model, what, out, { files: nodeFiles, folder: EMOJI })) {
    files[name === "" ? out : `${out}/${name}`] = await joinPieces(pieces);
  }
  return memoryFiles(files);
}

/** The bundled model, and files at other paths. */
function beside(files: FileSystem): FileSystem {
  const of = (path: string): FileSystem => (path.startsWith("out") ? files : nodeFiles);
  return { open: (path) => of(path).open(path), kind: (path) => of(path).kind(path), list: (path) => of(path).list(path) };
}

/** Whether a model has the changed tensors, and elsewhere its own. */
async function holds(
  loaded: StableDiffusionPipeline,
  component: "unet" | "text_encoder",
  what: ReadonlyMap<string, NDArray>,
): Promise<void> {
  const [own, theirs] = component === "unet" ? [unet, loaded.parts.unet.parameters] : [text, loaded.parts.textEncoder.parameters];
  for (const name of own.source.names())
    assert.equal(await theirs.source.readFloat32(name), what.get(name)?.data ?? (await own.source.readFloat32(name)), name);
}

const CASES: readonly (readonly [LayoutName, "unet" | "text_encoder", RegExp, RegExp | undefined])[] = [
  ["unet-pt", "unet", /attn2/, undefined],
  ["unet-pt-compvis", "unet", /conv1|attn2/, undefined],
  ["partial-safetensors", "unet", /attn2/, /^ESD-x/],
  ["delta-bin", "unet", /attn2\.to_[kv]/, /^UCE, RECE/],
  ["text-encoder-pt", "text_encoder", /encoder\.layers|final_layer_norm/, /^AdvUnlearn/],
  ["component-folder", "text_encoder", /encoder\.layers/, undefined],
  ["partial-safetensors", "text_encoder", /final/, undefined],
];

for (const [layout, component, pattern, method] of CASES) {
  test(`${layout}: loads over the model with the changed numbers, and is recognised`, async () => {
    const what = await changed(component, pattern);
    const files = await written(layout, what);
    const out = `out${LAYOUTS[layout].ending}`;
    const options: LoadOptions = component === "unet" ? { unet: out } : { textEncoder: out };
    const loaded = await loadStableDiffusion(device, { files: beside(files), folder: EMOJI }, options);
    await holds(loaded, component, what.numbers);
    if (method) assert.match((await inspectTensorFile(await openTensorPath(files, out))).trained?.method ?? "", method);
    await loaded.destroy();
  });
}

test("component-folder: the configuration is the base's to the letter, where 1.0 is not 1, but for its dtype", async () => {
  const files = await written("component-folder", await changed("text_encoder", /final/));
  const own = await readTextFile(nodeFiles, `${EMOJI}/text_encoder/config.json`);
  assert.match(own, '"initializer_factor": 1.0');
  assert.is(await readTextFile(files, "out/config.json"), own.replace('"float16"', '"float32"'));
});

test("pipeline-folder: a whole model that loads by itself", async () => {
  const what = await changed("unet", /attn2/);
  const files = await written("pipeline-folder", what);
  const loaded = await loadStableDiffusion(device, { files, folder: "out" });
  await holds(loaded, "unet", what.numbers);
  await holds(loaded, "text_encoder", new Map());
  assert.equal(loaded.tokenizer.encode("a church"), model.tokenizer.encode("a church"));
  await loaded.destroy();
});

test("every layout of low-rank factors gives the same merged weights, also where alpha is not the rank", async () => {
  const module = (component: LowRankModule["component"], path: string): LowRankModule => {
    const [out, inner] = (component === "unet" ? unet : text).storedShape(`${path}.weight`) as [number, number];
    const numbers = (n: number): Float32Array<ArrayBuffer> => Float32Array.from({ length: n }, (_, i) => ((i * 37) % 101) / 500);
    return {
      component,
      module: path,
      down: { data: numbers(4 * inner), shape: [4, inner] },
      up: { data: numbers(4 * out), shape: [out, 4] },
    };
  };
  const attention = "down_blocks.1.attentions.0.transformer_blocks.0.attn2";
  const modules = [
    module("unet", `${attention}.to_k`),
    module("unet", `${attention}.to_out.0`),
    module("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"),
  ];
  assert.ok(lowRankTargets(unet.source.names())(modules[0]!.module) !== undefined);
  for (const layout of ["lora-processor", "lora-safetensors", "lora-peft", "lora-kohya"] as const) {
    const files = await written(layout, { lowRank: { modules, alpha: 8 } });
    const loaded = await loadStableDiffusion(device, { files: beside(files), folder: EMOJI }, { lora: [{ file: "out.safetensors" }] });
    for (const { component, module: path, down, up } of modules) {
      const [own, theirs] = component === "unet" ? [unet, loaded.parts.unet.parameters] : [text, loaded.parts.textEncoder.parameters];
      const [base, merged] = [await own.source.readFloat32(`${path}.weight`), await theirs.source.readFloat32(`${path}.weight`)];
      const inner = down.shape[1]!;
      for (const at of [0, 1, inner + 3, merged.length - 1]) {
        const [row, column] = [Math.floor(at / inner), at % inner];
        let sum = 0;
        for (let r = 0; r < 4; r++) sum += up.data[row * 4 + r]! * down.data[r * inner + column]!;
        assert.ok(Math.abs(merged[at]! - (base[at]! + 2 * sum)) < 1e-5, `${layout} ${path} at ${at}`);
      }
    }
    await loaded.destroy();
  }
});

test("a trained LoRA is written by every layout, and predicts alike when it is loaded", async () => {
  const image = { data: Float32Array.from({ length: 3 * 64 * 64 }, (_, i) => Math.sin(i)), shape: [1, 3, 64, 64] };
  const result = await unlearn(model, {
    method: "lora", concepts: ["church"], steps: 2, learningRate: 0.05, batch: 1, rank: 2, alpha: 6, adaptText: true,
    images: { concept: [{ image, prompt: "church" }] },
  });
  try {
    assert.is(result.alpha, 6);
    const latents = { data: Float32Array.from({ length: 256 }, (_, i) => Math.cos(i)), shape: [1, 4, 8, 8] };
    const predict = async (one: StableDiffusionPipeline): Promise<Float32Array> =>
      (await one.predictNoise(latents, [500], await one.encodeText([one.tokenizer.encode("a church")]))).data;
    const expected = await predict(result.model);
    assert.ok(relativeL2(await predict(model), expected) > 1e-3, "the training moved nothing");
    for (const layout of ["lora-processor", "lora-safetensors", "lora-peft", "lora-kohya"] as const) {
      const files = await written(layout, await writtenChanges(result));
      const loaded = await loadStableDiffusion(device, { files: beside(files), folder: EMOJI }, { lora: [{ file: "out.safetensors" }] });
      assert.ok(relativeL2(await predict(loaded), expected) < 1e-4, layout);
      await loaded.destroy();
    }
  } finally {
    await result.destroy();
  }
});

test("original names are those that diffusers' converter came from, for every layout of blocks", () => {
  for (const [section, layersPerBlock] of [
    ["unet sd1", [2, 2, 2, 2]],
    ["unet sd2", [2, 2, 2, 2]],
    ["unet small", [1, 1, 1]],
    ["unet deep", [3, 3]],
  ] as const) {
    const pairs = originalNames(section);
    const originals = originalUNetNames(pairs.map(({ names }) => names[0]!), { layersPerBlock });
    for (const { original, names } of pairs) assert.is(originals.get(names[0]!), original);
  }
  assert.throws(() => originalUNetNames(["down_blocks.7.resnets.0.conv1.weight"], { layersPerBlock: [2, 2] }), /down_blocks\.7/);
});

test("a layout refuses what it cannot hold", async () => {
  const refusal = async (layout: LayoutName, what: Changed): Promise<string> =>
    outputFiles(layout, model, what, "out").then(() => "", (error: Error) => error.message);
  assert.match(
    await refusal("unet-pt", await changed("text_encoder", /final/)),
    /holds UNet weights, but what is trained is text encoder weights; choose .*text-encoder-pt/,
  );
  assert.match(
    await refusal("text-encoder-pt", await changed("unet", /conv_in/)),
    /holds text encoder weights, but .* is UNet weights; choose/,
  );
  assert.match(await refusal("lora-peft", await changed("unet", /conv_in/)), /low-rank factors, but .* UNet weights/);
  assert.match(await refusal("pipeline-folder", await changed("unet", /conv_in/)), /folder in diffusers' layout/);
});

finish();
