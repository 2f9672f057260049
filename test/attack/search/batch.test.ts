// Several searches, timesteps and prompts in one batch: against single losses and gradients, and against searches run one by one.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { framedIds, slotLayout } from "../../../engine/attack/search/slot-layout.ts";
import { Objective, type ObjectiveView } from "../../../engine/attack/search/objective.ts";
import { attack } from "../../../engine/attack/run.ts";
import { initialSimplex } from "../../../engine/attack/search/simplex.ts";
import type { AttackCase, AttackOptions } from "../../../engine/attack/options.ts";
import type { AttackEvent, AttackResult } from "../../../engine/attack/events.ts";
import type { AttackState } from "../../../engine/attack/session/state.ts";
import type { Evaluation } from "../../../engine/attack/session/evaluation.ts";
import type { Judge } from "../../../engine/attack/judges/judgement.ts";
import { openWeights } from "../../../engine/formats/diffusers.ts";
import type { NDArray } from "../../../engine/nn/array.ts";
import { nodeFiles } from "../../../engine/platform/node-files.ts";
import { UsageError } from "../../../engine/runtime/errors.ts";
import { Generator } from "../../../engine/runtime/random/random.ts";
import { adamHyperparameters } from "../../../kernels/adam.ts";
import { finish } from "../../support/device.ts";
import { drawsOf } from "../../support/draws.ts";
import { EMOJI, churchTarget, emojiModel } from "../../support/emoji.ts";
import { normals, relativeError } from "../../support/op-test.ts";

const TOKENS = 2;
const [RESTARTS, VIEWS] = [2, 3];

test("each search follows the mean of its views' losses, each view with its own prompt, picture and timestep", async () => {
  const model = await emojiModel();
  const table = await (await openWeights(nodeFiles, `${EMOJI}/text_encoder`)).readFloat32("text_model.embeddings.token_embedding.weight");
  const objective = await Objective.for(model, {
    tokens: TOKENS,
    length: 32,
    height: 16,
    width: 16,
    loss: "mse",
    projection: "exact",
    restarts: RESTARTS,
    views: VIEWS,
  });
  const timesteps = [50, 450, 850];
  const cases: (ObjectiveView & { readonly framed: (chosen: readonly number[]) => Uint32Array })[] = [];
  for (let n = 0; n < VIEWS; n++) {
    const prompt = Array.from({ length: 2 + n }, () => Math.floor(Math.random() * 8190));
    const layout = slotLayout("suffix", TOKENS, prompt.length, 32);
    const framed = (chosen: readonly number[]): Uint32Array<ArrayBuffer> => framedIds(layout, prompt, chosen, model.tokenizer);
    cases.push({ ids: framed([0, 0]), slots: layout.slots, latents: await model.encodeImage(await churchTarget(n)), framed });
  }
  const rows = RESTARTS * TOKENS * 8192;
  objective.start({
    ...cases[0]!,
    simplex: initialSimplex(RESTARTS * TOKENS, 8192),
    firstMoment: new Float32Array(rows),
    secondMoment: new Float32Array(rows),
  });
  objective.show(cases);
  const chosen = Array.from({ length: RESTARTS * TOKENS }, () => Math.floor(Math.random() * 8190));
  const noise = normals(VIEWS * RESTARTS * 1024);
  await objective.step({
    timestep: timesteps,
    noise,
    draws: drawsOf(initialSimplex(RESTARTS * TOKENS, 8192), chosen),
    hyperparameters: adamHyperparameters({ lr: 0.05 }, 1),
  });
  const read = await objective.program.read("gradient");
  const losses = await objective.allLosses(1);
  for (let r = 0; r < RESTARTS; r++) {
    let loss = 0;
    const expected = new Float64Array(TOKENS * 8192);
    for (let n = 0; n < VIEWS; n++) {
      const at = (n * RESTARTS + r) * 1024;
      const own: NDArray = { data: noise.slice(at, at + 1024), shape: [1, 4, 16, 16] };
      const single = await model.noiseLoss({
        latents: cases[n]!.latents,
        noise: own,
        timestep: timesteps[n]!,
        ids: cases[n]!.framed(chosen.slice(r * TOKENS, (r + 1) * TOKENS)),
      });
      loss += single.loss / VIEWS;
      cases[n]!.slots.forEach((position, j) => {
        for (let id = 0; id < 8192; id++) {
          for (let h = 0; h < 128; h++) {
            expected[j * 8192 + id]! += (single.gradient.data[position * 128 + h]! * table[id * 128 + h]!) / VIEWS;
          }
        }
      });
    }
    assert.ok(Math.abs(losses[r]![0]! / loss - 1) < 1e-5, `search ${r}: loss ${losses[r]![0]} instead of ${loss}`);
    const gradient = (read["gradient"] as Float32Array).subarray(r * TOKENS * 8192, (r + 1) * TOKENS * 8192);
    assert.ok(
      relativeError(
        gradient,
        expected.map((x) => Math.min(1, Math.max(-1, x))),
      ) < 1e-4,
      `search ${r}: gradient off by ${relativeError(gradient, expected)}`,
    );
  }
});

interface Run {
  readonly result: AttackResult;
  readonly evaluations: readonly Evaluation[];
  readonly states: readonly AttackState[];
  readonly losses: readonly number[];
}

const never: Judge = async () => ({ success: false, label: "nothing", score: 0, scores: {} });

async function run(changed: Partial<AttackOptions> = {}): Promise<Run> {
  const events: AttackEvent[] = [];
  const options: AttackOptions = {
    attacker: "text-grad",
    prompt: "a church",
    target: await churchTarget(0),
    judge: never,
    seed: 12,
    iterations: 2,
    timesteps: 10,
    maxTimesteps: 2,
    steps: 2,
    learningRate: 0.05,
    weightDecay: 0,
    scheduler: "ddim",
  };
  const result = await attack(await emojiModel(), { ...options, ...changed }, (e) => void events.push(e));
  return {
    result,
    evaluations: events.flatMap((e) => (e.type === "evaluation" || e.type === "skipped" ? [e.evaluation] : [])),
    states: events.flatMap((e) => (e.type === "state" ? [e.state] : [])),
    losses: events.flatMap((e) => (e.type === "losses" ? e.losses : [])),
  };
}

for (const attacker of ["text-grad", "hard-prompt"] as const) {
  test(`${attacker}: searches side by side find what each finds alone`, async () => {
    // Adam's first steps are of one size for all tokens, so that the likeliest is a matter of rounding; after some more it is not.
    const same: Partial<AttackOptions> = { attacker, timestepsPerStep: 2, maxTimesteps: 4, iterations: 8 };
    const together = await run({ ...same, restarts: 2, attackSeed: 5 });
    assert.is(together.evaluations.length, 1 + 2 * 2);
    const curves: (readonly number[])[] = [];
    for (let r = 0; r < 2; r++) {
      const alone = await run({ ...same, attackSeed: 5 + r });
      const mine = together.evaluations.filter((e) => e.restart === r);
      assert.equal(mine.map((e) => e.ids), alone.evaluations.slice(1).map((e) => e.ids), `tokens of search ${r}`);
      mine.forEach((e, i) => assert.ok(Math.abs(e.loss! / alone.evaluations[i + 1]!.loss! - 1) < 1e-4, `loss of search ${r}`));
      curves.push(alone.losses);
    }
    const least = curves[0]!.map((_, i) => Math.min(...curves.map((c) => c[i]!)));
    assert.is(together.losses.length, least.length);
    together.losses.forEach((loss, i) => assert.ok(Math.abs(loss / least[i]! - 1) < 1e-4, `iteration ${i + 1}`));
    for (const stage of [together.evaluations.slice(1, 3), together.evaluations.slice(3)]) {
      assert.equal(
        stage.map((e) => e.loss),
        stage.map((e) => e.loss).toSorted((a, b) => a! - b!),
      );
    }
  });
}

async function someCases(): Promise<AttackCase[]> {
  return [
    { prompt: "a church", target: await churchTarget(0), seed: 1 },
    { prompt: "the church at night", target: await churchTarget(1), seed: 2, guidance: 3 },
    { prompt: "church", target: await churchTarget(2), seed: 3 },
  ];
}

test("universal: the same tokens in every prompt, judged on all; it succeeds when all do", async () => {
  const cases = await someCases();
  const model = await emojiModel();
  let seen = 0;
  // Of three original prompts one draws the concept already; then two of three; then all.
  const judge: Judge = async () => ({
    success: [true, false, false, true, false, true].at(seen++) ?? true,
    label: "church",
    score: 0.5,
    scores: {},
  });
  const { result, evaluations } = await run({ cases, prompt: "ignored", judge, maxTimesteps: 5, casesPerStep: 2, tokens: 3 });
  assert.equal(
    evaluations.map((e) => [e.timestep, e.case, e.seed]),
    [-1, 50, 150].flatMap((t) => [
      [t, 0, 1],
      [t, 1, 2],
      [t, 2, 3],
    ]),
  );
  assert.equal(
    [result.success, result.preSuccess, result.iterations, result.universal],
    [true, false, 4, { successes: 3, preSuccesses: 1, cases: 3 }],
  );
  const tails = cases.map((c) => model.tokenizer.tokenize(c.prompt));
  const found = evaluations.slice(6).map((e) => e.ids);
  found.forEach((ids, i) => assert.equal(ids.slice(-tails[i]!.length), tails[i]));
  const never3 = await run({ cases, judge: never, maxTimesteps: 1 });
  assert.equal([never3.result.success, never3.result.universal!.successes], [false, 0]);
});

test("timesteps by gradient: all are measured, the largest go first", async () => {
  const { states, evaluations } = await run({ timestepOrder: "gradient", maxTimesteps: 3 });
  const { schedule } = states[0]!.search as { schedule: number[] };
  assert.equal(evaluations.slice(1).map((e) => e.timestep), schedule);
  const model = await emojiModel();
  const latents = await model.encodeImage(await churchTarget(0));
  const layout = slotLayout("prefix", 3, 2, 32);
  const norms = new Map<number, number>();
  for (let timestep = 50; timestep < 1000; timestep += 100) {
    const random = new Generator(0);
    let sum = 0;
    for (let i = 0; i < 2; i++) {
      const ids = framedIds(layout, model.tokenizer.tokenize("a church"), random.randint(8192, 3), model.tokenizer);
      const noise = { data: random.randn(latents.shape) as Float32Array<ArrayBuffer>, shape: latents.shape };
      const { data } = (await model.noiseLoss({ latents, noise, timestep, ids })).gradient;
      sum += Math.hypot(...data.subarray(128, 4 * 128));
    }
    norms.set(timestep, sum);
  }
  assert.equal(schedule, [...norms.keys()].toSorted((a, b) => norms.get(b)! - norms.get(a)!).slice(0, 3));
});

test("gate and screening: every prompt is stopped by one of them or drawn in full, and only full pictures succeed", async () => {
  // A margin that lets half of the prompts through.
  const open = await run({ attacker: "random", maxTimesteps: 8, gate: { margin: -0.99, samples: 3 }, screeningSteps: 1 });
  const ratios = open.evaluations.slice(1).map((e) => e.gate!.error / e.gate!.baseline).toSorted((a, b) => a - b);
  const margin = 1 - (ratios[3]! + ratios[4]!) / 2;
  let judged = 0;
  const judge: Judge = async () => ({ success: ++judged % 3 === 0, label: "church", score: 0.9, scores: {} });
  const { result, evaluations } = await run({
    attacker: "random",
    maxTimesteps: 8,
    gate: { margin, samples: 3 },
    screeningSteps: 1,
    judge,
  });
  const tried = evaluations.slice(1);
  const [gated, screened] = [tried.filter((e) => e.gate?.passed === false), tried.filter((e) => e.screening)];
  for (const e of gated) assert.ok(e.gate!.error >= (1 - margin) * e.gate!.baseline && e.judgement.label === "not drawn" && !e.screening);
  for (const e of screened) assert.ok(!e.judgement.success && e.screening!.steps === 1 && e.gate!.passed);
  const full = tried.filter((e) => e.judgement.label === "church" && !e.screening);
  assert.is(full.length, screened.filter((e) => e.screening!.passed).length);
  assert.equal(result.tried, {
    candidates: new Set(tried.map((e) => e.timestep)).size,
    gatedOut: gated.length,
    screened: screened.length,
    screenedOut: screened.length - full.length,
    drawn: full.length,
  });
  assert.is(judged, 1 + screened.length + full.length);
  assert.ok(screened.length > 0 && gated.length > 0, `${screened.length} screened, ${gated.length} gated`);
  const none = await run({ attacker: "random", maxTimesteps: 2, gate: { margin: 0.9 }, judge });
  assert.equal([none.result.tried!.gatedOut, none.result.tried!.drawn, none.result.success], [2, 0, false]);
});

test("a search with all of these goes on from every state to the end of the uninterrupted one", async () => {
  const changed: Partial<AttackOptions> = {
    cases: await someCases(),
    casesPerStep: 2,
    restarts: 2,
    timestepsPerStep: 2,
    timestepOrder: "gradient",
    maxTimesteps: 4,
    gate: { margin: -0.05, samples: 2 },
    screeningSteps: 1,
    judge: async (image) => ({ success: image.data[0]! % 2 === 0, label: "x", score: 0.1, scores: {} }),
  };
  const whole = await run(changed);
  const essence = (evaluations: readonly Evaluation[]): unknown => evaluations.map((e) => ({ ...e, milliseconds: 0 }));
  for (const state of whole.states.slice(0, -1)) {
    const rest = await run({ ...changed, resume: state });
    assert.equal(essence([...state.evaluations, ...rest.evaluations]), essence(whole.evaluations));
    assert.equal({ ...rest.result, seconds: 0 }, { ...whole.result, seconds: 0 });
  }
});

test("what cannot be is refused", async () => {
  const cases = await someCases();
  const wrong: [Partial<AttackOptions>, RegExp][] = [
    [{ attacker: "random", restarts: 2 }, /restarts is of the attackers text-grad, hard-prompt and p4d, not of random/],
    [{ timestepsPerStep: 3 }, /2 timesteps cannot be taken 3 at a time/],
    [{ attacker: "cce", cases }, /attacker "cce" puts no tokens into prompts/],
    [{ cases: [] }, /give at least one prompt/],
    [{ cases: [{ ...cases[0]!, seed: 1.5 }] }, /seed must be a whole number/],
    [{ cases: [{ ...cases[0]!, guidance: -1 }] }, /guidance must be a number of at least 0, got -1/],
    [{ cases, casesPerStep: 4 }, /casesPerStep must be a whole number from 1 to 3, got 4/],
    [
      { cases: [cases[0]!, { ...cases[1]!, target: { data: new Float32Array(3 * 32 * 64), shape: [1, 3, 32, 64] } }] },
      /must have one size/,
    ],
    [{ screeningSteps: 2 }, /screeningSteps must be a whole number from 1 to 1, got 2/],
    [{ attacker: "random", target: undefined as never, gate: {} }, /a gate needs a target/],
    [{ gate: { margin: 1 } }, /margin must be a number from -0.99 to 0.99, got 1/],
    [{ timestepOrder: "random" as never }, /timestepOrder "random" is not known/],
  ];
  for (const [changed, message] of wrong) {
    try {
      await run(changed);
    } catch (error) {
      assert.instance(error, UsageError);
      assert.match((error as Error).message, message);
      continue;
    }
    assert.unreachable(`not refused: ${JSON.stringify(Object.keys(changed))}`);
  }
});

finish();
