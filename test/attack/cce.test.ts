// Learned words in prompts against embeddings put in by hand; the inversion's steps against the model's own noise loss; the search as a
// whole and its file.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LEARNED_WORD } from "../../engine/attack/option-table.ts";
import type { AttackOptions } from "../../engine/attack/options.ts";
import { Objective } from "../../engine/attack/search/objective.ts";
import { CONTINUOUS } from "../../engine/attack/search/row-kinds.ts";
import { attack } from "../../engine/attack/run.ts";
import { tokenRows } from "../../engine/attack/search/nearest.ts";
import type { AttackEvent } from "../../engine/attack/events.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import { generate } from "../../engine/diffusion/generate.ts";
import { type LearnedEmbedding, encodeLearned, encodeLearnedEmbedding, learnedPrompt } from "../../engine/diffusion/learned-embedding.ts";
import { readLearnedEmbeddings } from "../../engine/loading/embedding-file.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { adamHyperparameters } from "../../kernels/adam.ts";
import { finish } from "../support/device.ts";
import { churchTarget, emojiModel } from "../support/emoji.ts";
import { normals, relativeError } from "../support/op-test.ts";
import { torchFile } from "../support/torch-file.ts";

const HIDDEN = 128;
const learn = (name: string, vectors = 1): LearnedEmbedding => ({ name, rows: normals(vectors * HIDDEN) });

async function throws(make: () => unknown, kind: new (...args: never[]) => Error, message: RegExp): Promise<void> {
  try {
    await make();
  } catch (error) {
    assert.instance(error, kind);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`no error like ${message}`);
}

test("a word learned as a token's own row encodes as that token; several vectors take several places", async () => {
  const model = await emojiModel();
  const [church, fish] = [...model.tokenizer.tokenize("church fish")];
  const both: LearnedEmbedding = { name: "<both>", rows: await tokenRows(model, [church!, fish!]) };
  const expected = await model.encodeText(model.tokenizer.encode("a church fish on a church fish"));
  const actual = await encodeLearned(model, "a <both> on a<both>", [both, learn("<bo")]);
  assert.equal(actual.shape, expected.shape);
  assert.ok(relativeError(actual.data, expected.data) < 1e-6);
  const { ids, positions } = learnedPrompt(model, "a <both> on", [both]);
  assert.equal(positions, [2, 3]);
  assert.equal(Array.from(ids.subarray(0, 6)), [
    model.tokenizer.bosId,
    ...model.tokenizer.tokenize("a"),
    8192,
    8192,
    ...model.tokenizer.tokenize("on"),
    model.tokenizer.eosId,
  ]);
  assert.equal((await encodeLearned(model, "a fish", [both])).data, (await model.encodeText(model.tokenizer.encode("a fish"))).data);
});

test("a learned word of another width, or one that is cut off, is refused", async () => {
  const model = await emojiModel();
  await throws(
    () => encodeLearned(model, "<w>", [{ name: "<w>", rows: normals(100) }]),
    UsageError,
    /100 numbers, this model's vectors have 128/,
  );
  await throws(() => encodeLearned(model, `${"church ".repeat(30)}<w>`, [learn("<w>")]), UsageError, /would be cut off/);
});

test("files: written and read back; a matrix of vectors; anything else is refused", async () => {
  const word = learn("<cce>");
  const files = memoryFiles({
    "one.safetensors": encodeLearnedEmbedding("one.safetensors", word, HIDDEN),
    "two.safetensors": encodeLearnedEmbedding("two.safetensors", learn("<two>", 2), HIDDEN),
    "unet.safetensors": encodeSafetensors("unet.safetensors", { conv: { dtype: "F32", shape: [1, 2, 1, 1], data: new Float32Array(2) } }),
    "none.safetensors": encodeSafetensors("none.safetensors", {}),
  });
  assert.equal(await readLearnedEmbeddings(files, "one.safetensors"), [{ ...word, file: "one.safetensors", width: HIDDEN }]);
  assert.is((await readLearnedEmbeddings(files, "two.safetensors"))[0]!.rows.length, 2 * HIDDEN);
  await throws(
    () => readLearnedEmbeddings(files, "unet.safetensors"),
    FormatError,
    /"conv" has shape \[1, 2, 1, 1\]; a learned embedding is/,
  );
  await throws(() => readLearnedEmbeddings(files, "none.safetensors"), FormatError, /no learned embedding/);
});

test("a learned_embeds.bin as torch.save writes it, and a word of another file beside it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lethe-embeds-"));
  try {
    const word = learn("<church-toy>");
    const path = join(folder, "learned_embeds.bin");
    writeFileSync(path, torchFile({ "<church-toy>": { dtype: "F32", shape: [HIDDEN], read: () => new Uint8Array(word.rows.buffer) } }));
    assert.equal(await readLearnedEmbeddings(nodeFiles, path), [{ ...word, file: path, width: HIDDEN }]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("steps of the inversion: the loss and the gradient at the word are the model's own, and Adam moves the word", async () => {
  const model = await emojiModel();
  const word = learn(LEARNED_WORD);
  const { ids, positions } = learnedPrompt(model, `a picture of ${LEARNED_WORD}`, [word]);
  const latents = await model.encodeImage(await churchTarget(1));
  const objective = await Objective.for(model, {
    tokens: 1,
    length: 32,
    height: 16,
    width: 16,
    loss: "mse",
    projection: "exact",
    rows: CONTINUOUS,
  });
  const [m, v, rows] = [new Float64Array(HIDDEN), new Float64Array(HIDDEN), Float64Array.from(word.rows)];
  objective.start({
    ids,
    slots: positions,
    latents,
    simplex: word.rows,
    firstMoment: new Float32Array(HIDDEN),
    secondMoment: new Float32Array(HIDDEN),
  });
  for (let step = 1; step <= 3; step++) {
    const noise: NDArray = { data: normals(1024), shape: [1, 4, 16, 16] };
    const timestep = Math.floor(Math.random() * 1000);
    const table = await tokenRows(model, [...ids]);
    table.set(Float32Array.from(rows), positions[0]! * HIDDEN);
    const known = await model.noiseLoss({ latents, noise, timestep, embeddings: { data: table, shape: [1, 32, HIDDEN] } });
    await objective.step({ timestep, noise: noise.data, hyperparameters: adamHyperparameters({ lr: 0.01 }, step) });
    const read = await objective.program.read();
    assert.ok(Math.abs(read["loss"]![0]! / known.loss - 1) < 1e-5, `loss ${read["loss"]![0]} instead of ${known.loss}`);
    assert.ok(relativeError(read["gradient"]!, known.gradient.data.subarray(positions[0]! * HIDDEN, (positions[0]! + 1) * HIDDEN)) < 1e-5);
    for (let i = 0; i < HIDDEN; i++) {
      const d = read["gradient"]![i]!;
      m[i] = 0.9 * m[i]! + 0.1 * d;
      v[i] = 0.999 * v[i]! + 0.001 * d * d;
      rows[i]! -= ((0.01 / (1 - 0.9 ** step)) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(1 - 0.999 ** step) + 1e-8);
    }
    assert.ok(relativeError(read["moved"]!, rows) < 1e-5, `word after step ${step}`);
    rows.set(read["moved"]!);
  }
  await throws(() => objective.tokens(), Error, /stand for themselves/);
});

test("cce: rounds, the word after each, a picture that generate draws again, and resumption", async () => {
  const model = await emojiModel();
  const events: AttackEvent[] = [];
  const options: AttackOptions = {
    attacker: "cce",
    prompt: "a church",
    target: await churchTarget(0),
    judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
    seed: 3,
    iterations: 3,
    maxTimesteps: 2,
    steps: 3,
    scheduler: "ddim",
    learningRate: 0.05,
  };
  const result = await attack(model, options, (e) => void events.push(e));
  const judged = events.flatMap((e) => (e.type === "evaluation" ? [e] : []));
  assert.equal(
    judged.map(({ evaluation: e }) => [e.timestep, e.iteration, e.prompt]),
    [
      [-1, 0, "a church"],
      [0, 3, "a picture of <cce>"],
      [1, 6, "a picture of <cce>"],
    ],
  );
  assert.equal([result.iterations, result.adversarialPrompt], [6, "a picture of <cce>"]);
  assert.is(result.adversarialIds.at(-1), 8192);
  assert.is(judged[0]!.learned, undefined);
  assert.not.equal(judged[1]!.learned!.rows, judged[2]!.learned!.rows);
  const [drawn] = await generate(model, {
    prompt: "a picture of <cce>",
    seed: 3,
    steps: 3,
    scheduler: "ddim",
    learned: [judged[2]!.learned!],
  });
  assert.equal(drawn!.image.data, judged[2]!.image.data);
  const states = events.flatMap((e) => (e.type === "state" ? [e.state] : []));
  const again: AttackEvent[] = [];
  await attack(model, { ...options, resume: states[1]! }, (e) => void again.push(e));
  const resumed = again.flatMap((e) => (e.type === "evaluation" ? [e] : []));
  assert.is(resumed.length, 1);
  assert.equal(resumed[0]!.learned!.rows, judged[2]!.learned!.rows);
});

test("cce: learned and judged in another prompt", async () => {
  const model = await emojiModel();
  const options: AttackOptions = {
    attacker: "cce",
    prompt: "a church",
    target: await churchTarget(0),
    judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
    seed: 3,
    iterations: 2,
    maxTimesteps: 1,
    steps: 2,
    scheduler: "ddim",
  };
  const result = await attack(model, { ...options, learnedPrompt: "a house in <cce> style" });
  assert.is(result.adversarialPrompt, "a house in <cce> style");
  assert.equal(result.adversarialIds, [...model.tokenizer.tokenize("a house in"), 8192, ...model.tokenizer.tokenize("style")]);
  for (const wrong of ["a house", "<cce> <cce>"]) {
    await throws(() => attack(model, { ...options, learnedPrompt: wrong }), UsageError, /must have <cce> in it once/);
  }
});

finish();
