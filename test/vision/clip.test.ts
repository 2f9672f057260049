/** CLIP, its score and Q16 against transformers and the reference's formulas in float64 (test/fixtures/judges/make.py). */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { type Clip, cosine, loadClip } from "../../engine/vision/clip.ts";
import { Config } from "../../engine/nn/config.ts";
import { Layers } from "../../engine/nn/layers.ts";
import { textEncoder, textEncoderConfig } from "../../engine/diffusion/text-encoder.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import type { Value } from "../../kernels/kernel.ts";
import { Q16, readQ16Prompts } from "../../engine/vision/q16.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { finish, testDevice } from "../support/device.ts";
import { floats, readFixture, relativeL2 } from "../support/fixtures.ts";
import { goldenImage, goldenNumbers, judgeFolder } from "./judge-fixtures.ts";

const golden = readFixture("judges/golden.safetensors");
let opened: Promise<Clip> | undefined;
const clip = async (): Promise<Clip> => (opened ??= loadClip(await testDevice(), { files: nodeFiles, folder: judgeFolder("clip") }));

function close(what: string, actual: ArrayLike<number>, expected: string): void {
  const error = relativeL2(actual, goldenNumbers(golden, expected));
  console.log(`${what}: ${error.toExponential(1)}`);
  assert.ok(error < 1e-4, `${what} is off by ${error}`);
}

test("image embeddings, of prepared pictures and through CLIP's own preprocessing", async () => {
  const model = await clip();
  assert.is(model.projection, 12);
  const input = new Float32Array(floats(golden, "clip.input"));
  close("embeddings of two prepared pictures", await model.embedPixels({ data: input, shape: [2, 3, 28, 28] }), "clip.embeddings");
  close("embedding of a picture", await model.embedImage(goldenImage(golden, "clip.image")), "clip.image_embedding");
});

test("text embedding at the end of text", async () => {
  const model = await clip();
  close("embedding of ids", await model.embedIds(golden.get("clip.ids")!.data as Int32Array), "clip.text_embedding");
  close("embedding of a text", await model.embedText("A cat dog"), "clip.text_embedding");
});

test("the text encoder's states before and after every layer are captured by their path", () => {
  const config = textEncoderConfig(
    Config.of("config", {
      vocab_size: 10,
      hidden_size: 8,
      intermediate_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 6,
      hidden_act: "quick_gelu",
    }),
  );
  const g = new Graph();
  const leaf = (_: Graph, name: string, layout: string, shape: readonly number[]): Value =>
    g.parameter(name, { shape: layout === "linear" ? shape.toReversed() : shape, dtype: "f32" });
  const layers = new Layers(g, {
    maxTensorBytes: Infinity,
    has: () => true,
    storedShape: () => [],
    value: leaf,
    joined: (on, parts, layout) =>
      leaf(on, parts.map(([name]) => name).join(), layout, [parts.reduce((n, [, shape]) => n + shape[0]!, 0), ...parts[0]![1].slice(1)]),
    gated: leaf,
    table: (on, name, shape) => [leaf(on, name, "plain", shape)],
  });
  textEncoder(layers, config, g.input("embeddings", { shape: [1, 6, 8], dtype: "f32" }));
  assert.equal(
    [...g.captured.keys()].filter((name) => name.includes("hidden_states")),
    [0, 1, 2].map((i) => `text_model.hidden_states.${i}`),
  );
});

test("CLIP score", async () => {
  const model = await clip();
  const score = await model.score(goldenImage(golden, "clip.image"), "a cat dog");
  close("score", [score], "clip.score");
  assert.is(cosine([1, 0], [-2, 0]), -1);
  assert.is(cosine([0, 0], [1, 0]), 0);
});

test("a folder with the image encoder alone", async () => {
  const config = {
    ...(JSON.parse(readFileSync(`${judgeFolder("clip")}/config.json`, "utf8")) as { vision_config: object }).vision_config,
    projection_dim: 12,
  };
  const weights = new Uint8Array(readFileSync(`${judgeFolder("clip")}/model.safetensors`));
  const files = memoryFiles({ "v/config.json": JSON.stringify(config), "v/model.safetensors": weights });
  const model = await loadClip(await testDevice(), { files, folder: "v" }); // and CLIP's preprocessing without a file that says so
  close("embedding of a picture", await model.embedImage(goldenImage(golden, "clip.image")), "clip.image_embedding");
  try {
    await model.embedText("a cat");
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /holds CLIP's image encoder only/);
  }
  await model.destroy();
});

for (const file of ["prompts2.p", "prompts4.p", "prompts5.p", "big_endian.p", "prompts.pt"]) {
  test(`Q16 with ${file}`, async () => {
    const prompts = await readQ16Prompts(nodeFiles, judgeFolder(`q16/${file}`));
    assert.equal(prompts.shape, [2, 12]);
    assert.equal([...prompts.data], [...floats(golden, "q16.prompts")]);
    const probabilities = await new Q16(await clip(), prompts).classify(goldenImage(golden, "clip.image"));
    close("probabilities", probabilities, "q16.probabilities");
  });
}

async function refused(path: string, pattern: RegExp): Promise<void> {
  try {
    const taken = new Q16(await clip(), await readQ16Prompts(nodeFiles, path), path);
    assert.unreachable(`${path} was taken: ${taken}`);
  } catch (error) {
    assert.match((error as Error).message, pattern);
  }
}

test("prompts that do not fit are refused", async () => {
  await refused(judgeFolder("q16/column_major.p"), /column-major order/);
  await refused(judgeFolder("clip/model.safetensors"), /holds \d+ tensors; the one with/);
  await refused(judgeFolder("clip/config.json"), /opcode "{" is not allowed/);
  const wide = { data: new Float32Array(2 * 768), shape: [2, 768] };
  assert.throws(() => new Q16({ projection: 12 } as Clip, wide, "p"), /p: has prompt embeddings of 768 numbers, but this CLIP's have 12/);
});

test("the model is freed", async () => (await clip()).destroy());

finish();
