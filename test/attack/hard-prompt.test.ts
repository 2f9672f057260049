// The hard-prompt rows and P4D's target, step by step against the model's own noise loss and a plain float64 computation; then both
// searches as a whole.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { framedIds, slotLayout } from "../../engine/attack/search/slot-layout.ts";
import { tokenRows } from "../../engine/attack/search/nearest.ts";
import type { ObjectiveShape } from "../../engine/attack/search/iteration-program.ts";
import { Objective } from "../../engine/attack/search/objective.ts";
import { NEAREST } from "../../engine/attack/search/row-kinds.ts";
import { OriginalPrediction } from "../../engine/attack/search/original-prediction.ts";
import { attack } from "../../engine/attack/run.ts";
import type { AttackEvent } from "../../engine/attack/events.ts";
import type { AttackOptions } from "../../engine/attack/options.ts";
import type { AttackState } from "../../engine/attack/session/state.ts";
import type { Evaluation } from "../../engine/attack/session/evaluation.ts";
import { openWeights } from "../../engine/formats/diffusers.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import type { LossKind } from "../../engine/diffusion/stable-diffusion.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { Generator } from "../../engine/runtime/random/random.ts";
import { adamHyperparameters } from "../../kernels/adam.ts";
import { finish } from "../support/device.ts";
import { EMOJI, churchTarget, emojiModel } from "../support/emoji.ts";
import { normals, relativeError } from "../support/op-test.ts";

const TOKENS = 3;
const HIDDEN = 128;
const VOCABULARY = 8192;
const LATENT = [1, 4, 16, 16] as const;
const ADAM = { lr: 0.05, weightDecay: 0.1 };
const UNLEARNED = `${EMOJI}/unlearned/esd-x-church/ESDx-church-UNet.pt`;

async function tokenTable(): Promise<Float32Array> {
  return (await openWeights(nodeFiles, `${EMOJI}/text_encoder`)).readFloat32("text_model.embeddings.token_embedding.weight");
}

/** The nearest row of the table by cosine, and how far it is ahead of the second; float64. */
function nearest(table: Float32Array, row: Float32Array): { id: number; margin: number } {
  const cosine = (id: number): number => {
    let [dot, squared] = [0, 0];
    for (let h = 0; h < HIDDEN; h++) {
      dot += row[h]! * table[id * HIDDEN + h]!;
      squared += table[id * HIDDEN + h]! ** 2;
    }
    return dot / Math.max(1e-12, Math.sqrt(squared));
  };
  const length = Math.hypot(...row);
  const ranked = Array.from({ length: VOCABULARY }, (_, id) => ({ id, cosine: cosine(id) / length })).toSorted(
    (a, b) => b.cosine - a.cosine || a.id - b.id,
  );
  return { id: ranked[0]!.id, margin: ranked[0]!.cosine - ranked[1]!.cosine };
}

/** Some iterations from random rows: the tokens taken, loss, gradient, Adam. */
async function follow(loss: LossKind, original: boolean): Promise<void> {
  const model = await emojiModel(original ? { unet: UNLEARNED } : undefined);
  const table = await tokenTable();
  const prompt = model.tokenizer.tokenize("a church on a hill");
  const layout = slotLayout("middle", TOKENS, prompt.length, 32);
  const latents = await model.encodeImage(await churchTarget(1));
  const shape: ObjectiveShape = {
    tokens: TOKENS,
    length: 32,
    height: 16,
    width: 16,
    loss,
    projection: "exact",
    rows: NEAREST,
    target: original ? "given" : "noise",
  };
  const objective = await Objective.for(model, shape);
  const rows = Float64Array.from(normals(TOKENS * HIDDEN), (x) => x * 0.1);
  const [m, v] = [new Float64Array(rows.length), new Float64Array(rows.length)];
  const zeros = new Float32Array(rows.length);
  objective.start({
    ids: framedIds(layout, prompt, [0, 0, 0], model.tokenizer),
    slots: layout.slots,
    latents,
    simplex: Float32Array.from(rows),
    firstMoment: zeros,
    secondMoment: zeros,
  });
  const plain = model.tokenizer.frame(prompt);
  const prediction = original
    ? await OriginalPrediction.of(await emojiModel(), { cases: [{ ids: plain, latents }], destination: objective.target })
    : undefined;
  for (let step = 1; step <= 3; step++) {
    const noise: NDArray = { data: normals(1024), shape: LATENT };
    const timestep = Math.floor(Math.random() * 1000);
    const wanted = Array.from({ length: TOKENS }, (_, j) => nearest(table, Float32Array.from(rows.subarray(j * HIDDEN, (j + 1) * HIDDEN))));
    await prediction?.step([timestep], noise.data);
    await objective.step({ timestep, noise: noise.data, hyperparameters: adamHyperparameters(ADAM, step) });
    const read = await objective.program.read();
    wanted.forEach(({ id, margin }, j) =>
      assert.ok(margin < 1e-5 || read["choice"]![j] === id, `slot ${j} took ${read["choice"]![j]}, nearest is ${id} by ${margin}`),
    );
    const ids = framedIds(layout, prompt, read["choice"]!, model.tokenizer);
    const known = await model.noiseLoss({ latents, noise, timestep, ids, loss });
    if (original) {
      const unchanged = await emojiModel();
      const { noised } = unchanged.addNoise(latents, noise, timestep);
      const target = await unchanged.predictNoise(noised, timestep, await unchanged.encodeText(plain));
      const expected =
        known.prediction.data.reduce(
          (sum, x, i) => sum + (loss === "mse" ? (x - target.data[i]!) ** 2 : Math.abs(x - target.data[i]!)),
          0,
        ) / 1024;
      assert.ok(Math.abs(read["loss"]![0]! / expected - 1) < 1e-5, `loss ${read["loss"]![0]} instead of ${expected}`);
    } else {
      assert.ok(Math.abs(read["loss"]![0]! / known.loss - 1) < 1e-5, `loss ${read["loss"]![0]} instead of ${known.loss}`);
      const gradient = layout.slots.flatMap((p) => [...known.gradient.data.subarray(p * HIDDEN, (p + 1) * HIDDEN)]);
      assert.ok(relativeError(read["gradient"]!, gradient) < 1e-5, "gradient at the slots");
    }
    for (let i = 0; i < rows.length; i++) {
      const d = read["gradient"]![i]! + ADAM.weightDecay * rows[i]!;
      m[i] = 0.9 * m[i]! + 0.1 * d;
      v[i] = 0.999 * v[i]! + 0.001 * d * d;
      rows[i]! -= ((ADAM.lr / (1 - 0.9 ** step)) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(1 - 0.999 ** step) + 1e-8);
    }
    assert.ok(relativeError(read["moved"]!, rows) < 1e-5, `rows after step ${step} are off by ${relativeError(read["moved"]!, rows)}`);
    assert.equal((await objective.readState()).simplex, read["moved"], "rows go on as they are, without a projection");
    rows.set(read["moved"]!);
  }
  const last = await objective.tokens();
  last.forEach((id, j) => {
    const { id: best, margin } = nearest(table, Float32Array.from(rows.subarray(j * HIDDEN, (j + 1) * HIDDEN)));
    assert.ok(margin < 1e-5 || id === best, `slot ${j} ends as ${id}, nearest is ${best}`);
  });
}

test("hard-prompt iterations: nearest tokens, loss, gradient, Adam", () => follow("mse", false));
test("P4D iterations on an unlearned model: the original model's prediction is the target", () => follow("mse", true));
test("P4D iterations with the absolute loss", () => follow("l1", true));

test("a token's own row, whatever its length, is nearest to that token; bos and eos are found as well", async () => {
  const model = await emojiModel();
  const { bosId, eosId } = model.tokenizer;
  const ids = [bosId, 321, eosId];
  const rows = await tokenRows(model, ids);
  const table = await tokenTable();
  assert.equal(
    [...rows],
    ids.flatMap((id) => [...table.subarray(id * HIDDEN, (id + 1) * HIDDEN)]),
  );
  const objective = await Objective.for(model, {
    tokens: 3,
    length: 32,
    height: 16,
    width: 16,
    loss: "mse",
    projection: "exact",
    rows: NEAREST,
  });
  const zeros = new Float32Array(rows.length);
  const layout = slotLayout("prefix", 3, 1, 32);
  const latents: NDArray = { data: new Float32Array(1024), shape: LATENT };
  objective.start({
    ids: framedIds(layout, [5], ids, model.tokenizer),
    slots: layout.slots,
    latents,
    simplex: rows.map((x) => 7 * x),
    firstMoment: zeros,
    secondMoment: zeros,
  });
  assert.equal(await objective.tokens(), ids);
});

interface Run {
  readonly evaluations: readonly Evaluation[];
  readonly states: readonly AttackState[];
}

async function run(changed: Partial<AttackOptions>): Promise<Run> {
  const events: AttackEvent[] = [];
  const options: AttackOptions = {
    attacker: "hard-prompt",
    prompt: "a church",
    target: await churchTarget(0),
    judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
    seed: 3,
    iterations: 2,
    timesteps: 10,
    maxTimesteps: 2,
    steps: 2,
    learningRate: 0.1,
  };
  await attack(await emojiModel(), { ...options, ...changed }, (e) => void events.push(e));
  return {
    evaluations: events.flatMap((e) => (e.type === "evaluation" ? [e.evaluation] : [])),
    states: events.flatMap((e) => (e.type === "state" ? [e.state] : [])),
  };
}

const essence = (evaluations: readonly Evaluation[]): unknown =>
  evaluations.map(({ timestep, iteration, ids, prompt, loss }) => ({ timestep, iteration, ids, prompt, loss }));

test("hard-prompt starts from random tokens' embeddings, and a resumed run ends as the uninterrupted one", async () => {
  const model = await emojiModel();
  const whole = await run({});
  assert.equal(whole.evaluations.map((e) => [e.timestep, e.iteration]), [[-1, 0], [50, 2], [150, 4]]);
  const start = new Generator(0).randint(VOCABULARY, TOKENS);
  assert.equal(whole.states[0]!.simplex, await tokenRows(model, [...start]));
  const resumed = await run({ resume: whole.states[1]! });
  assert.equal(essence(resumed.evaluations), essence(whole.evaluations.slice(2)));
});

test("p4d searches, and refuses to begin without a fitting original", async () => {
  const original = await emojiModel();
  const { evaluations } = await run({ attacker: "p4d", original, maxTimesteps: 1 });
  assert.is(evaluations.length, 2);
  assert.ok(evaluations[1]!.loss! > 0);
  for (const [changed, message] of [
    [{ attacker: "p4d" }, /"p4d" needs the original model/],
    [{ attacker: "hard-prompt", target: undefined as never }, /"hard-prompt" needs a target/],
  ] as const) {
    try {
      await run(changed);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, UsageError);
      assert.match((error as Error).message, message);
    }
  }
});

finish();
