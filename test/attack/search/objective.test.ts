import { test } from "uvu";
import * as assert from "uvu/assert";
import { framedIds, slotLayout, INSERTIONS, type Insertion } from "../../../engine/attack/search/slot-layout.ts";
import { KEPT_LOSSES, type ObjectiveShape } from "../../../engine/attack/search/iteration-program.ts";
import { Objective } from "../../../engine/attack/search/objective.ts";
import { initialSimplex, projectRow } from "../../../engine/attack/search/simplex.ts";
import { openWeights } from "../../../engine/formats/diffusers.ts";
import { type NDArray, toChannelsLast } from "../../../engine/nn/array.ts";
import { StableDiffusion } from "../../../engine/diffusion/stable-diffusion.ts";
import { nodeFiles } from "../../../engine/platform/node-files.ts";
import { type HostArray } from "../../../engine/runtime/program.ts";
import { Generator } from "../../../engine/runtime/random/random.ts";
import { adamHyperparameters } from "../../../kernels/adam.ts";
import { finish } from "../../support/device.ts";
import { drawsOf } from "../../support/draws.ts";
import { EMOJI, churchTarget, emojiModel } from "../../support/emoji.ts";
import { normals, relativeError } from "../../support/op-test.ts";

const LATENT = [1, 4, 16, 16] as const;
const LR = 0.05;
const DECAY = 0.1;

function latentNoise(): Float32Array<ArrayBuffer> {
  return normals(1024);
}

function randomIds(count: number): number[] {
  return Array.from({ length: count }, () => Math.floor(Math.random() * 8190));
}

/** A token of a share that a draw surely hits. */
function anyToken(row: Float32Array): number {
  const likely = [...row.keys()].filter((id) => row[id]! > 1e-5);
  return likely[Math.floor(Math.random() * likely.length)]!;
}

async function tokenTable(): Promise<Float32Array> {
  return (await openWeights(nodeFiles, `${EMOJI}/text_encoder`)).readFloat32("text_model.embeddings.token_embedding.weight");
}

interface Setting {
  readonly insert: Insertion;
  readonly tokens: number;
  readonly promptLength: number;
  readonly loss?: "mse" | "l1";
}

function begin(
  model: StableDiffusion,
  objective: Objective,
  { insert, tokens, promptLength }: Setting,
  latents: NDArray,
): { prompt: number[]; slots: readonly number[]; framed: (chosen: readonly number[]) => Uint32Array<ArrayBuffer> } {
  const prompt = randomIds(promptLength);
  const layout = slotLayout(insert, tokens, promptLength, 32);
  const framed = (chosen: readonly number[]): Uint32Array<ArrayBuffer> => framedIds(layout, prompt, chosen, model.tokenizer);
  const zeros = (): Float32Array<ArrayBuffer> => new Float32Array(tokens * 8192);
  objective.start({
    ids: framed(randomIds(tokens)),
    slots: layout.slots,
    latents,
    simplex: initialSimplex(tokens, 8192),
    firstMoment: zeros(),
    secondMoment: zeros(),
  });
  return { prompt, slots: layout.slots, framed };
}

function shapeOf({ tokens, loss = "mse" }: Setting): ObjectiveShape {
  return { tokens, length: 32, height: 16, width: 16, loss, projection: "exact" };
}

/**
 * The gradient of the rows, from that of the embeddings [length, hidden]: straight through the tokens to all of the table, clamped to [-1,
 * 1].
 */
function rowGradient(embeddingGradient: ArrayLike<number>, slots: readonly number[], table: Float32Array): Float64Array {
  const gradient = new Float64Array(slots.length * 8192);
  slots.forEach((position, j) => {
    for (let id = 0; id < 8192; id++) {
      let dot = 0;
      for (let h = 0; h < 128; h++) dot += embeddingGradient[position * 128 + h]! * table[id * 128 + h]!;
      gradient[j * 8192 + id] = Math.min(1, Math.max(-1, dot));
    }
  });
  return gradient;
}

/** torch.optim.Adam in float64, one step from (p, m, v). */
function adam64(p: Float64Array, g: HostArray, m: Float64Array, v: Float64Array, step: number): void {
  for (let i = 0; i < p.length; i++) {
    const d = g[i]! + DECAY * p[i]!;
    m[i] = 0.9 * m[i]! + 0.1 * d;
    v[i] = 0.999 * v[i]! + 0.001 * d * d;
    p[i]! -= ((LR / (1 - 0.9 ** step)) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(1 - 0.999 ** step) + 1e-8);
  }
}

/**
 * Several iterations with given tokens, each part against the model's own noise loss or a plain float64 computation from the part before.
 */
async function follow(model: StableDiffusion, setting: Setting, iterations = 2): Promise<void> {
  const name = JSON.stringify(setting);
  const { tokens } = setting;
  const table = await tokenTable();
  const latents = await model.encodeImage(await churchTarget(1));
  const objective = await Objective.for(model, shapeOf(setting));
  const { slots, framed } = begin(model, objective, setting, latents);
  let rows = initialSimplex(tokens, 8192);
  const [m, v] = [new Float64Array(tokens * 8192), new Float64Array(tokens * 8192)];
  const losses: number[] = [];
  for (let step = 1; step <= iterations; step++) {
    const choice = Array.from({ length: tokens }, (_, j) => anyToken(rows.subarray(j * 8192, (j + 1) * 8192)));
    const noise = latentNoise();
    const timestep = Math.floor(Math.random() * 1000);
    await objective.step({
      timestep,
      noise,
      draws: drawsOf(rows, choice),
      hyperparameters: adamHyperparameters({ lr: LR, weightDecay: DECAY }, step),
    });
    const read = await objective.program.read();
    const { simplex: after } = await objective.readState();
    assert.equal([...read["choice"]!], choice, `${name}: tokens drawn`);
    const known = await model.noiseLoss({
      latents,
      noise: { data: noise, shape: LATENT },
      timestep,
      ids: framed(choice),
      loss: setting.loss ?? "mse",
    });
    losses.push(read["loss"]![0]!);
    assert.ok(Math.abs(read["loss"]![0]! / known.loss - 1) < 1e-5, `${name}: loss ${read["loss"]![0]} instead of ${known.loss}`);
    assert.ok(relativeError(read["embeddingGradient"]!, known.gradient.data) < 1e-5, `${name}: gradient of the embeddings`);

    const gradient = rowGradient(known.gradient.data, slots, table);
    assert.ok(relativeError(read["gradient"]!, gradient) < 1e-4, `${name}: gradient of the rows`);

    const moved = Float64Array.from(rows);
    adam64(moved, read["gradient"]!, m, v, step);
    assert.ok(relativeError(read["moved"]!, moved) < 1e-5, `${name}: Adam step ${step} is off by ${relativeError(read["moved"]!, moved)}`);
    const projected = new Float32Array(tokens * 8192);
    for (let j = 0; j < tokens; j++) {
      projected.set(projectRow((read["moved"] as Float32Array).subarray(j * 8192, (j + 1) * 8192)), j * 8192);
    }
    assert.ok(
      projected.every((x, i) => Math.abs(x - after[i]!) < 1e-6),
      `${name}: projection`,
    );
    rows = after;
  }
  assert.equal([...(await objective.losses(iterations))], losses, `${name}: kept losses`);
}

for (const insert of INSERTIONS) {
  test(`an iteration with tokens as ${insert}: loss, gradients, Adam, projection`, async () => {
    await follow(await emojiModel(), { insert, tokens: insert === "middle" ? 5 : 3, promptLength: 7 });
  });
}

test("an iteration with the absolute loss, and a prompt that leaves no padding", async () => {
  await follow(await emojiModel(), { insert: "interleave", tokens: 3, promptLength: 28, loss: "l1" }, 1);
});

test("a v-prediction model is compared with the velocity", async () => {
  const { parts } = await emojiModel();
  const model = new StableDiffusion({ ...parts, scheduler: { ...parts.scheduler, prediction_type: "v_prediction" } });
  assert.is(model.predictionType, "v_prediction");
  await follow(model, { insert: "prefix", tokens: 3, promptLength: 4 }, 1);
});

test("a given target takes the noise's place; a gradient beyond 1, as a target far off makes it, is clamped", async () => {
  const model = await emojiModel();
  const setting: Setting = { insert: "prefix", tokens: 3, promptLength: 4 };
  const latents = await model.encodeImage(await churchTarget(1));
  const objective = await Objective.for(model, { ...shapeOf(setting), target: "given" });
  const { framed, slots } = begin(model, objective, setting, latents);
  const choice = randomIds(3);
  const noise: NDArray = { data: latentNoise(), shape: LATENT };
  const target: NDArray = { data: latentNoise().map((x) => 1e4 * x), shape: LATENT };
  objective.target.write(toChannelsLast(target));
  await objective.step({
    timestep: 450,
    noise: noise.data,
    draws: drawsOf(initialSimplex(3, 8192), choice),
    hyperparameters: adamHyperparameters({ lr: LR }, 1),
  });
  const { prediction } = await model.noiseLoss({ latents, noise, timestep: 450, ids: framed(choice) });
  const expected = prediction.data.reduce((sum, x, i) => sum + (x - target.data[i]!) ** 2, 0) / 1024;
  const [loss] = await objective.losses(1);
  assert.ok(Math.abs(loss! / expected - 1) < 1e-5, `${loss} instead of ${expected}`);
  const read = await objective.program.read("embeddingGradient", "gradient");
  const gradient = rowGradient(read["embeddingGradient"]!, slots, await tokenTable());
  assert.ok(gradient.filter((x) => Math.abs(x) === 1).length > 100, "nothing to clamp");
  assert.ok(relativeError(read["gradient"]!, gradient) < 1e-4, "clamped gradient");
  const plain = await Objective.for(model, shapeOf(setting));
  assert.throws(() => plain.target, /ask for target "given"/);
});

test("tokens are drawn from the rows, and losses are kept in order", async () => {
  const model = await emojiModel();
  const setting: Setting = { insert: "suffix", tokens: 3, promptLength: 2 };
  const latents = await model.encodeImage(await churchTarget(2));
  const objective = await Objective.for(model, { tokens: 3, length: 32, height: 16, width: 16, loss: "mse", projection: "exact" });
  begin(model, objective, setting, latents);
  const draws = Float32Array.of(0.5 / 8192, 4096.5 / 8192, 8191.5 / 8192);
  const random = new Generator(1);
  const step = (i: number): Promise<void> =>
    objective.step({ timestep: 50, noise: random.randn(LATENT), draws, hyperparameters: adamHyperparameters({ lr: 0.01 }, i) });
  await step(1);
  assert.equal([...(await objective.program.read("choice"))["choice"]!], [0, 4096, 8191]);
  const [first] = await objective.losses(1);
  for (let i = 2; i <= 4; i++) await step(i);
  const losses = await objective.losses(4);
  assert.is(losses[0], first);
  assert.is(new Set(losses).size, 4);
  for (const row of [0, 1, 2]) {
    const { simplex } = await objective.readState();
    const total = simplex.subarray(row * 8192, (row + 1) * 8192).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(total - 1) < 1e-5, `row ${row} sums to ${total}`);
  }
  try {
    await objective.losses(KEPT_LOSSES + 1);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, RangeError);
  }
});

finish();
