import { test } from "uvu";
import * as assert from "uvu/assert";
import { f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { Generator } from "../../engine/runtime/random/random.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { float16ToFloat32, float32ToFloat16 } from "../../engine/formats/half.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import { type NDArray, toChannelsLast } from "../../engine/nn/array.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import type { HostArray } from "../../engine/runtime/program.ts";
import { Trainer, type TrainerOptions } from "../../engine/train/trainer.ts";
import { churchTarget, emojiModel } from "../support/emoji.ts";
import { finish, testDevice } from "../support/device.ts";

const SIZE = 16;
const ADAM = { lr: 1e-4, weightDecay: 0.01 };
const UNET_FILE = "assets/emoji/unet/diffusion_pytorch_model.safetensors";

type Batch = Readonly<Record<string, HostArray>>;

/** Noise prediction of the whole UNet on so many pictures at once. */
function noiseTraining(model: StableDiffusion, batch: number, options: Partial<TrainerOptions> = {}): TrainerOptions {
  const { config } = model.parts.unet;
  return {
    name: `${batch} ${JSON.stringify(options)}`,
    decay: "decoupled",
    trains: (_tensor, component) => component === "unet",
    record(g) {
      const noised = g.input("noised", f32([batch, SIZE, SIZE, config.inChannels]));
      const context = g.input("context", f32([batch, model.tokenizer.maxLength, config.crossAttentionDim]));
      const prediction = model.recordUNet(g, noised, g.input("features", f32([batch, model.featureWidth])), context);
      return { loss: mseLoss(g, prediction, g.input("target", noised.type)), rescaleAt: model.rescaleAt(prediction, context) };
    },
    ...options,
  };
}

/** Batches of noised pictures of churches with their prompt, drawn by a seed. */
async function batchesOf(model: StableDiffusion, batch: number, count: number, seed: number): Promise<Batch[]> {
  const random = new Generator(seed);
  const latents: NDArray[] = [];
  for (let i = 1; i <= 4; i++) latents.push(await model.encodeImage(await churchTarget(i)));
  const text = await model.encodeText(model.tokenizer.encode("a church"));
  return Array.from({ length: count }, () => {
    const rows = Array.from({ length: batch }, () => {
      const timestep = random.randint(1000, 1)[0]!;
      const clean = latents[random.randint(4, 1)[0]!]!;
      const noise: NDArray = { data: random.randn(clean.shape) as Float32Array<ArrayBuffer>, shape: clean.shape };
      return { timestep, ...model.addNoise(clean, noise, timestep) };
    });
    return {
      noised: joined(rows.map((r) => toChannelsLast(r.noised))),
      target: joined(rows.map((r) => toChannelsLast(r.target))),
      features: model.timestepFeatures(rows.map((r) => r.timestep)),
      context: joined(rows.map(() => text.data)),
    };
  });
}

function joined(parts: readonly (Float32Array | HostArray)[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(parts.flatMap((p) => [...p]));
}

/** Batches as one. */
function inOne(batches: readonly Batch[]): Batch {
  return Object.fromEntries(Object.keys(batches[0]!).map((key) => [key, joined(batches.map((b) => b[key]!))]));
}

async function unetOf(trainer: Trainer): Promise<Map<string, NDArray>> {
  return (await trainer.weights()).get("unet")!;
}

/** Relative L2 between how far two trainings moved the same weights. */
function changeError(start: Map<string, NDArray>, a: Map<string, NDArray>, b: Map<string, NDArray>): number {
  let [difference, change] = [0, 0];
  for (const [name, { data }] of a) {
    const [other, before] = [b.get(name)!.data, start.get(name)!.data];
    data.forEach((x, i) => {
      difference += (x - other[i]!) ** 2;
      change += (x - before[i]!) ** 2;
    });
  }
  return Math.sqrt(difference / change);
}

async function fileWeights(): Promise<Map<string, NDArray>> {
  const file = await openTensorPath(nodeFiles, UNET_FILE);
  const weights = new Map<string, NDArray>();
  for (const [name, { shape }] of file.entries) weights.set(name, { data: await file.readFloat32(name), shape: [...shape] });
  await file.close();
  return weights;
}

test("fifty steps of the whole UNet learn five batches, in the memory that was estimated", async () => {
  const device = await testDevice();
  const model = await emojiModel({});
  const batches = await batchesOf(model, 2, 5, 1);
  const options = noiseTraining(model, 2);
  const estimate = Trainer.estimate(model, options, false);
  const trainer = new Trainer(model, options);
  const before = device.usage.allocatedBytes;
  device.resetPeak();
  const losses: number[] = [];
  for (let i = 0; i < 50; i++) {
    await trainer.step(batches[i % batches.length]!, { adam: ADAM });
    losses.push(await trainer.loss());
  }
  const used = device.usage.peakBytes - before;
  const total = estimate.weightBytes + estimate.ownBytes + estimate.buffers.reduce((a, b) => a + b, 0);
  const rounds = Array.from({ length: 10 }, (_, i) => losses.slice(5 * i, 5 * i + 5).reduce((sum, loss) => sum + loss / 5, 0));
  console.log(`mean loss of the batches, round by round: ${rounds.map((x) => x.toFixed(4)).join(" ")}; ${used} bytes, estimated ${total}`);
  assert.is(trainer.steps, 50);
  assert.ok(rounds.at(-1)! < 0.5 * rounds[0]!, rounds.join(" "));
  assert.ok(Math.abs(used - total) < 0.05 * total, `estimated ${total}, used ${used}`);
  trainer.destroy();
  await model.destroy();
});

test("weights come back by the checkpoint's names, in its order and shapes, as they were put in", async () => {
  const model = await emojiModel({});
  const [batch] = await batchesOf(model, 1, 1, 2);
  const trainer = new Trainer(model, noiseTraining(model, 1));
  await trainer.step(batch!, { adam: { lr: 0 } });
  const [expected, weights] = [await fileWeights(), await unetOf(trainer)];
  assert.equal([...weights.keys()].toSorted(), [...expected.keys()].toSorted());
  for (const [name, { data, shape }] of weights) {
    assert.equal(shape, expected.get(name)!.shape, name);
    assert.equal(data, expected.get(name)!.data, name);
  }
  trainer.destroy();
  await model.destroy();
});

test("gradients summed over batches update as one batch of all does", async () => {
  const start = await fileWeights();
  const results: Map<string, NDArray>[] = [];
  for (const batches of [1, 3]) {
    const model = await emojiModel({});
    const parts = await batchesOf(model, 1, 6, 3);
    const trainer = new Trainer(model, noiseTraining(model, 3 / batches, { batches }));
    for (const half of [parts.slice(0, 3), parts.slice(3)]) {
      for (const batch of batches === 1 ? [inOne(half)] : half) await trainer.step(batch, { adam: { lr: 1e-3, eps: 1e-3 } });
    }
    assert.is(trainer.steps, 2);
    results.push(await unetOf(trainer));
    trainer.destroy();
    await model.destroy();
  }
  const error = changeError(start, results[1]!, results[0]!);
  assert.ok(error < 1e-3, `${error}`);
});

test("clipping scales all gradients together by their global norm", async () => {
  const start = await fileWeights();
  const results: Map<string, NDArray>[] = [];
  let bound = Infinity;
  let norm = 0;
  for (const way of ["free", "loose", "tight"]) {
    const model = await emojiModel({});
    const [batch] = await batchesOf(model, 1, 1, 4);
    if (way === "tight") bound = norm / 8;
    const trainer = new Trainer(model, noiseTraining(model, 1, way === "free" ? {} : { clipNorm: way === "loose" ? 1e9 : bound }));
    // With an eps far above the moments the step is in proportion to the gradient.
    await trainer.step(batch!, { adam: { lr: 100, eps: 1e3 } });
    if (way === "loose") norm = await trainer.gradientNorm();
    results.push(await unetOf(trainer));
    trainer.destroy();
    await model.destroy();
  }
  const [free, loose, tight] = results as [Map<string, NDArray>, Map<string, NDArray>, Map<string, NDArray>];
  assert.ok(changeError(start, loose, free) < 1e-5);
  let [squares, product] = [0, 0];
  for (const [name, { data }] of free) {
    const [before, clipped] = [start.get(name)!.data, tight.get(name)!.data];
    data.forEach((x, i) => {
      squares += (x - before[i]!) ** 2;
      product += (x - before[i]!) * (clipped[i]! - before[i]!);
    });
  }
  // The first step of Adam moves by lr * gradient / (|gradient| + eps).
  assert.ok(Math.abs((Math.sqrt(squares) * 1e3) / 100 / norm - 1) < 1e-2, `norm ${norm}, steps say ${(Math.sqrt(squares) * 1e3) / 100}`);
  assert.ok(Math.abs(product / squares - 1 / 8) < 1e-3, `clipped to ${product / squares} of the step instead of 1/8`);
});

test("weights stored as halves are trained as float32 masters, and averaged", async () => {
  const model = await loadStableDiffusion(await testDevice(), { files: nodeFiles, folder: "assets/emoji" }, { weights: "f16" });
  const [first, second] = await batchesOf(model, 1, 2, 5);
  const trainer = new Trainer(model, noiseTraining(model, 1, { average: true }));
  // Each step is less than a half of these sizes can tell.
  const adam = { lr: 1e-5 };
  await trainer.step(first!, { adam, averageDecay: 0.75 });
  const once = await unetOf(trainer);
  await trainer.step(second!, { adam, averageDecay: 0.75 });
  const [start, twice, average] = [await fileWeights(), await unetOf(trainer), (await trainer.averages()).get("unet")!];
  const name = "mid_block.resnets.0.conv1.weight";
  const dataOf = (weights: Map<string, NDArray>): Float32Array => weights.get(name)!.data;
  const [w0, w1, w2, mean] = [dataOf(start), dataOf(once), dataOf(twice), dataOf(average)];
  const moved = w1.filter((x, i) => x !== w0[i]).length;
  assert.ok(moved > 0.9 * w0.length, `${moved} of ${w0.length} moved`);
  const expected = w0.map((x, i) => {
    const after = x + (w1[i]! - x) * 0.25;
    return after + (w2[i]! - after) * 0.25;
  });
  const worst = mean.reduce((m, x, i) => Math.max(m, Math.abs(x - expected[i]!)), 0);
  assert.ok(worst < 1e-7, `averages off by ${worst}`);
  // What the model computes with are the masters rounded.
  const { parameters } = model.parts.unet;
  const halves = new Uint16Array(((await parameters.tensor(`unet:${name}`, f32([1])).read()) as Uint32Array<ArrayBuffer>).buffer);
  const stored = float16ToFloat32(halves).toSorted();
  const rounded = float16ToFloat32(float32ToFloat16(w2)).toSorted();
  const off = stored.reduce((m, x, i) => Math.max(m, Math.abs(x - rounded[i]!) / Math.max(1e-4, Math.abs(rounded[i]!))), 0);
  assert.ok(off <= 2 ** -10, `halves off by ${off}`);
  trainer.destroy();
  await model.destroy();
});

test("a few gradients are in memory at a time, with clipping all of them", async () => {
  const model = await emojiModel({});
  const live = (options: Partial<TrainerOptions>): number => Trainer.estimate(model, noiseTraining(model, 1, options), false).liveBytes;
  const weights = [...(await fileWeights()).values()].reduce((n, { data }) => n + 4 * data.length, 0);
  const [plain, clipped] = [live({}), live({ clipNorm: 1 })];
  assert.ok(clipped > 0.9 * weights, `${clipped} bytes of gradients, ${weights} of weights`);
  assert.ok(plain < 0.4 * weights, `${plain} bytes, ${weights} of weights`);
  await model.destroy();
});

test("what cannot be trained is refused by name", async () => {
  const model = await emojiModel({});
  const refused = async (options: Partial<TrainerOptions>, pattern: RegExp): Promise<void> => {
    const trainer = new Trainer(model, noiseTraining(model, 1, { name: String(pattern), ...options }));
    const [batch] = await batchesOf(model, 1, 1, 6);
    const error = await trainer.step(batch!, { adam: ADAM }).then(() => undefined, (e: Error) => e);
    assert.match(error?.message ?? "nothing was thrown", pattern);
  };
  await refused({ trains: () => false }, /none of the weights/);
  const onlyQueries = /attn1\.to_q\.weight" is to be trained and "[^"]*to_k\.weight" is not/;
  await refused({ trains: (tensor) => tensor.endsWith("attn1.to_q.weight") }, onlyQueries);
  await model.destroy();
});

finish();
