import { test } from "uvu";
import * as assert from "uvu/assert";
import { attack } from "../../engine/attack/run.ts";
import type { AttackEvent, AttackResult } from "../../engine/attack/events.ts";
import type { AttackOptions } from "../../engine/attack/options.ts";
import type { AttackState } from "../../engine/attack/session/state.ts";
import type { Evaluation } from "../../engine/attack/session/evaluation.ts";
import type { Judge } from "../../engine/attack/judges/judgement.ts";
import { tensorToImages } from "../../engine/formats/picture/image.ts";
import { generate } from "../../engine/diffusion/generate.ts";
import { LetheError, UsageError } from "../../engine/runtime/errors.ts";
import { Generator } from "../../engine/runtime/random/random.ts";
import { finish } from "../support/device.ts";
import { churchTarget, emojiModel } from "../support/emoji.ts";

const never: Judge = async () => ({ success: false, label: "nothing", score: 0, scores: {} });

/** Says yes to the n-th picture it sees, from 0. */
function yesAt(n: number): { judge: Judge; seen: () => number } {
  let seen = 0;
  return { judge: async () => ({ success: seen++ === n, label: "thing", score: 0.5, scores: { thing: 0.5 } }), seen: () => seen };
}

async function options(changed: Partial<AttackOptions> = {}): Promise<AttackOptions> {
  return {
    attacker: "text-grad",
    prompt: "a church",
    target: await churchTarget(0),
    judge: never,
    seed: 12,
    iterations: 3,
    timesteps: 10,
    maxTimesteps: 3,
    steps: 2,
    learningRate: 0.05,
    weightDecay: 0,
    ...changed,
  };
}

interface Run {
  readonly result: AttackResult;
  readonly events: readonly AttackEvent[];
  readonly evaluations: readonly Evaluation[];
  readonly states: readonly AttackState[];
}

async function run(changed: Partial<AttackOptions> = {}): Promise<Run> {
  const events: AttackEvent[] = [];
  const result = await attack(await emojiModel(), await options(changed), (e) => void events.push(e));
  return {
    result,
    events,
    evaluations: events.flatMap((e) => (e.type === "evaluation" ? [e.evaluation] : [])),
    states: events.flatMap((e) => (e.type === "state" ? [e.state] : [])),
  };
}

/** What must be the same in two runs. */
const essence = (evaluations: readonly Evaluation[]): unknown =>
  evaluations.map(({ timestep, iteration, ids, prompt, loss, seed }) => ({ timestep, iteration, ids, prompt, loss, seed }));

async function rejects(changed: Partial<AttackOptions>, kind: new (message: string) => Error, message: RegExp): Promise<void> {
  try {
    await run(changed);
  } catch (error) {
    assert.instance(error, kind);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`not refused: ${JSON.stringify(changed)}`);
}

test("text-grad: events in order, losses complete, result as the last evaluation", async () => {
  const { result, events, evaluations, states } = await run();
  assert.equal(events[0], { type: "start", totalIterations: 9 });
  assert.equal(evaluations.map((e) => [e.timestep, e.iteration]), [[-1, 0], [50, 3], [150, 6], [250, 9]]);
  assert.is(evaluations[0]!.loss, null);
  const losses = events.flatMap((e) =>
    e.type === "losses" ? e.losses.map((loss, i) => ({ at: e.iteration + i, timestep: e.timestep, loss })) : [],
  );
  assert.equal(
    losses.map((l) => l.at),
    Array.from({ length: 9 }, (_, i) => i),
  );
  const mean = losses.slice(3, 6).reduce((a, l) => a + l.loss, 0) / 3;
  assert.ok(Math.abs(evaluations[2]!.loss! - mean) < 1e-6);
  assert.equal(losses.map((l) => l.timestep), [50, 50, 50, 150, 150, 150, 250, 250, 250]);
  assert.equal(states.map((s) => [s.finished, s.iteration, s.evaluations.length]), [[0, 0, 1], [1, 3, 2], [2, 6, 3], [3, 9, 4]]);
  assert.is(events.filter((e) => e.type === "sampling").length, 2 * evaluations.filter((e) => !e.unchanged).length);
  const last = evaluations.at(-1)!;
  assert.equal(
    { ...result, seconds: 0 },
    {
      success: false,
      prompt: "a church",
      adversarialPrompt: last.prompt,
      adversarialIds: last.ids,
      iterations: 9,
      timestep: null,
      preSuccess: false,
      score: 0,
      label: "nothing",
      seed: 12,
      seconds: 0,
    },
  );
  assert.ok(last.prompt.endsWith("a church"));
});

/** With every batch of losses the slots are told, at the end of a timestep as the state has them. */
function checkSlots({ events }: Run): void {
  const told = events.flatMap((e) => (e.type === "slots" ? [e.slots] : []));
  assert.is(told.length, events.filter((e) => e.type === "losses").length);
  const { simplex } = events.findLast((e) => e.type === "state")!.state;
  const rows = Array.from({ length: 3 }, (_, j) => [
    ...simplex.subarray((j * simplex.length) / 3, ((j + 1) * simplex.length) / 3).entries(),
  ]);
  assert.equal(
    told.at(-1),
    rows.map((row) =>
      row
        .toSorted((a, b) => b[1] - a[1] || a[0] - b[0])
        .slice(0, 3)
        .map(([id, share]) => ({ id, share })),
    ),
  );
}

test("the same seed gives the same tokens and losses, another one does not, and a resumed run ends as the uninterrupted one", async () => {
  const whole = await run();
  const again = await run({ watchSlots: true });
  assert.equal(essence(again.evaluations), essence(whole.evaluations));
  checkSlots(again);
  const other = await run({ attackSeed: 1 });
  assert.not.equal(essence(other.evaluations), essence(whole.evaluations));
  for (const from of [0, 1, 2]) {
    const state = whole.states[from]!;
    const stored = JSON.parse(
      JSON.stringify({ ...state, simplex: [...state.simplex], firstMoment: [...state.firstMoment], secondMoment: [...state.secondMoment] }),
    ) as Record<"simplex" | "firstMoment" | "secondMoment", number[]> & AttackState;
    const resume: AttackState = {
      ...stored,
      simplex: Float32Array.from(stored.simplex),
      firstMoment: Float32Array.from(stored.firstMoment),
      secondMoment: Float32Array.from(stored.secondMoment),
    };
    const resumed = await run({ resume });
    assert.equal(essence(resumed.evaluations), essence(whole.evaluations.slice(from + 1)), `resumed after ${from} timesteps`);
    assert.equal({ ...resumed.result, seconds: 0 }, { ...whole.result, seconds: 0 });
  }
});

test("the search stops at the first success, and a success of the original prompt ends it at once", async () => {
  const second = await run({ judge: yesAt(2).judge });
  assert.equal([second.result.success, second.result.timestep, second.result.iterations, second.result.preSuccess], [true, 150, 6, false]);
  assert.is(second.evaluations.length, 3);
  const first = await run({ judge: yesAt(0).judge });
  assert.equal(
    [first.result.success, first.result.timestep, first.result.iterations, first.result.preSuccess, first.result.adversarialPrompt],
    [true, -1, 0, true, "a church"],
  );
  assert.not.ok(first.events.some((e) => e.type === "losses"));
});

test("tokens that did not change are not drawn again", async () => {
  const { judge, seen } = yesAt(-1);
  const { evaluations, events } = await run({ judge, learningRate: 1e-30 }); // rows stay tied: the lowest id wins
  assert.equal(evaluations.map((e) => e.unchanged), [false, false, true, true]);
  assert.is(seen(), 2);
  const images = events.flatMap((e) => (e.type === "evaluation" ? [e.image] : []));
  assert.is(images[2], images[1]);
  assert.is(evaluations[3]!.judgement, evaluations[1]!.judgement);
});

test("a picture is the pipeline's own for the decoded prompt", async () => {
  const model = await emojiModel();
  const { events, evaluations } = await run({ attacker: "random", maxTimesteps: 1, scheduler: "ddim", steps: 3 });
  const [expected] = await generate(model, { prompt: evaluations[1]!.prompt, seed: 12, steps: 3, scheduler: "ddim" });
  const drawn = events.flatMap((e) => (e.type === "evaluation" ? [e.image] : []));
  assert.equal(drawn[1]!.data, expected!.image.data);
});

test("every evaluation starts from the noise of the prompt's seed, in the attack's own LMS by default", async () => {
  const { events } = await run({ attacker: "no-attack", steps: 3 });
  const model = await emojiModel();
  const drawn = events.flatMap((e) => (e.type === "evaluation" ? [e.image] : []));
  assert.is(drawn.length, 1);
  const noise = new Generator(12).randn([1, 4, 16, 16]) as Float32Array<ArrayBuffer>;
  const { createSamplerPlan, noiseScheduleOnly } = await import("../../engine/diffusion/schedulers/index.ts");
  const { Sampler } = await import("../../engine/diffusion/sampler.ts");
  const plan = createSamplerPlan("lms", noiseScheduleOnly(model.parts.scheduler), 3);
  const encode = (text: string) => model.encodeText(model.tokenizer.encode(text));
  const latents = await Sampler.for(model, { batch: 1, height: 16, width: 16, length: 32, guidance: 7.5 }).run({
    context: await encode("a church"),
    unconditional: await encode(""),
    noise: { data: noise, shape: [1, 4, 16, 16] },
    plan,
    drawNoise: () => noise,
  });
  const { data, shape } = await model.decodeLatents(latents);
  assert.equal(drawn[0]!.data, tensorToImages(data, shape)[0]!.data);
});

test("random: the reference's tokens for the prompt's seed, as many tries as asked, resumable", async () => {
  const model = await emojiModel();
  const whole = await run({ attacker: "random", maxTimesteps: 4, tokens: 2, insert: "suffix" });
  assert.equal(whole.events[0], { type: "start", totalIterations: 4 });
  const random = new Generator(12);
  random.randn([1, 4, 16, 16]);
  const prompts = Array.from({ length: 4 }, () =>
    model.tokenizer.decode([...model.tokenizer.tokenize("a church"), ...random.randint(8192, 2)]),
  );
  assert.equal(
    whole.evaluations.map((e) => e.prompt),
    ["a church", ...prompts],
  );
  assert.equal(
    whole.evaluations.map((e) => e.timestep),
    [-1, 0, 1, 2, 3],
  );
  const resumed = await run({ attacker: "random", maxTimesteps: 4, tokens: 2, insert: "suffix", resume: whole.states[2]! });
  assert.equal(essence(resumed.evaluations), essence(whole.evaluations.slice(3)));
  const found = await run({ attacker: "random", maxTimesteps: 4, judge: yesAt(2).judge });
  assert.equal([found.result.success, found.result.timestep, found.result.iterations], [true, 1, 2]);
});

test("seed-search: the same prompt with other seeds; no-attack: the original alone", async () => {
  const { evaluations, result } = await run({ attacker: "seed-search", maxTimesteps: 3, judge: yesAt(3).judge });
  assert.equal(evaluations.map((e) => e.prompt), ["a church", "a church", "a church", "a church"]);
  assert.is(new Set(evaluations.map((e) => e.seed)).size, 4);
  assert.is(evaluations[0]!.seed, 12);
  assert.equal([result.success, result.seed], [true, evaluations[3]!.seed]);
  const none = await run({ attacker: "no-attack" });
  assert.equal(none.evaluations.map((e) => e.timestep), [-1]);
  assert.equal([none.result.success, none.result.timestep, none.result.adversarialPrompt], [false, null, "a church"]);
});

test("an aborted attack rejects with AbortError, and its last state resumes to the same end", async () => {
  const whole = await run();
  const controller = new AbortController();
  const states: AttackState[] = [];
  try {
    await attack(await emojiModel(), await options({ signal: controller.signal }), (e) => {
      if (e.type === "state") states.push(e.state);
      if (e.type === "losses" && e.timestep === 150) controller.abort();
    });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
  assert.is(states.at(-1)!.finished, 1);
  const resumed = await run({ resume: states.at(-1)! });
  assert.equal(essence(resumed.evaluations), essence(whole.evaluations.slice(2)));
});

test("what an event handler throws ends the attack", async () => {
  try {
    await attack(await emojiModel(), await options(), (e) => {
      if (e.type === "losses") throw new Error("disk full");
    });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "disk full");
  }
});

test("a target that is not a number is an error that says where it shows", async () => {
  const target = await churchTarget(0);
  await rejects({ target: { ...target, data: target.data.map(() => Number.NaN) } }, LetheError, /an element of the encoded picture is NaN/);
});

test("bad options are refused before anything is drawn", async () => {
  const { judge, seen } = yesAt(-1);
  const target = await churchTarget(0);
  const cases: [Partial<AttackOptions>, RegExp][] = [
    [{ prompt: "" }, /prompt is empty/],
    [{ prompt: "  \n " }, /prompt is empty/],
    [{ prompt: "church ".repeat(31) }, /has 31 tokens, this model takes 30/],
    [{ prompt: "church ".repeat(29) }, /29 tokens and 3 more are to be inserted, but only 31 fit/],
    [
      { attacker: "gradient" as never },
      /attacker "gradient" is not known; choose one of text-grad, hard-prompt, p4d, cce, ring-a-bell, random/,
    ],
    [{ insert: "infix" as never }, /insert "infix" is not known; choose one of prefix, suffix/],
    [{ insert: "every-k", tokens: 1 }, /"every-k" needs at least 2/],
    [{ tokens: 0 }, /tokens must be a whole number from 1 to 1000, got 0/],
    [{ tokens: 2.5 }, /tokens must be a whole number/],
    [{ iterations: 0 }, /iterations must be/],
    [{ timesteps: 1001 }, /timesteps must be a whole number from 1 to 1000/],
    [{ maxTimesteps: 0 }, /maxTimesteps must be/],
    [{ learningRate: 0 }, /learningRate must be a number above 0/],
    [{ weightDecay: -1 }, /weightDecay must be/],
    [{ guidance: Number.NaN }, /guidance must be/],
    [{ seed: 0.5 }, /seed must be/],
    [{ target: undefined as never }, /"text-grad" needs a target/],
    [{ target: { data: new Float32Array(3 * 62 * 64), shape: [1, 3, 62, 64] } }, /target is 64x62 pixels.*multiples of 4/],
    [{ target: { data: target.data, shape: [3, 64, 64] } }, /one picture \[1, 3, height, width\]/],
  ];
  for (const [changed, message] of cases) await rejects({ judge, ...changed }, UsageError, message);
  const { states } = await run({ attacker: "random", maxTimesteps: 1 });
  await rejects({ judge, resume: states[0]! }, UsageError, /attack with attacker "random", this one has "text-grad"/);
  await rejects(
    { judge, attacker: "random", prompt: "a fish", resume: states[0]! },
    UsageError,
    /attack with prompt "a church", this one has "a fish"/,
  );
  await rejects({ judge, resume: { ...states[0]!, attacker: "text-grad" } }, UsageError, /has 0 numbers in "simplex"/);
  assert.is(seen(), 0);
});

finish();
