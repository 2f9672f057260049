// The concept vector, the distance and the genetic search of Ring-A-Bell, and the attack that uses them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ConceptPair, conceptTarget, conceptVector } from "../../engine/attack/search/concept-vector.ts";
import { type GeneticOptions, breed, firstPopulation, select } from "../../engine/attack/search/genetic.ts";
import { attack } from "../../engine/attack/run.ts";
import { TextDistance } from "../../engine/attack/search/text-distance.ts";
import type { AttackEvent } from "../../engine/attack/events.ts";
import type { AttackOptions } from "../../engine/attack/options.ts";
import type { AttackState } from "../../engine/attack/session/state.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readText } from "../../engine/platform/node-files.ts";
import { parseConceptPairs } from "../../engine/run/concept-pairs.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { Generator } from "../../engine/runtime/random/random.ts";
import { finish } from "../support/device.ts";
import { emojiModel } from "../support/emoji.ts";
import { relativeError } from "../support/op-test.ts";

const PAIRS: readonly ConceptPair[] = [
  { with: "a church", without: "a" },
  { with: "the church at night", without: "the fish at night" },
  { with: "chapel", without: "" },
];

/** The concept vector computed plainly, one prompt at a time. */
async function plainVector(): Promise<Float64Array> {
  const model = await emojiModel();
  const encode = async (text: string): Promise<Float32Array> => (await model.encodeText(model.tokenizer.encode(text))).data;
  const sum = new Float64Array(32 * 128);
  for (const pair of PAIRS) {
    const [a, b] = [await encode(pair.with), await encode(pair.without)];
    for (let i = 0; i < sum.length; i++) sum[i]! += a[i]! - b[i]!;
  }
  return sum.map((x) => x / PAIRS.length);
}

test("the concept vector is the mean difference of encodings, and the target lies eta of them away", async () => {
  const model = await emojiModel();
  const expected = await plainVector();
  const vector = await conceptVector(model, PAIRS);
  assert.ok(relativeError(vector, expected) < 1e-5, `${relativeError(vector, expected)}`);
  const { data } = await model.encodeText(model.tokenizer.encode("a fish"));
  const target = await conceptTarget(model, "a fish", vector, -1.5);
  assert.ok(relativeError(target, Float64Array.from(data, (x, i) => x - 1.5 * expected[i]!)) < 1e-5);
});

test("distances are sums of squares over all positions, for any number of prompts", async () => {
  const model = await emojiModel();
  const target = Float32Array.from({ length: 32 * 128 }, () => Math.random() - 0.5);
  const lists = Array.from({ length: 21 }, (_, i) => Array.from({ length: 1 + (i % 9) }, () => 1 + Math.floor(Math.random() * 8000)));
  const distances = await (await TextDistance.to(model, target, 8)).of(lists);
  assert.is(distances.length, 21);
  for (const i of [0, 7, 8, 20]) {
    const { data } = await model.encodeText(model.tokenizer.frame(lists[i]!));
    const expected = data.reduce((sum, x, j) => sum + (x - target[j]!) ** 2, 0);
    assert.ok(Math.abs(distances[i]! / expected - 1) < 1e-5, `list ${i}: ${distances[i]} instead of ${expected}`);
  }
});

test("breeding keeps the parents, cuts both of a pair at one place, and exchanges single tokens at the rates asked for", () => {
  const options: GeneticOptions = { population: 400, tokens: 6, crossoverRate: 0.5, mutationRate: 0, tokenLimit: 50 };
  const random = new Generator(Math.floor(Math.random() * 1e6));
  const parents = firstPopulation(options, random);
  assert.ok(parents.every(({ ids }) => ids.length === 6 && ids.every((id) => id >= 1 && id < 50)));
  const bred = breed(parents, options, random);
  assert.equal(bred.filter((x) => parents.includes(x)), parents);
  assert.ok(Math.abs(bred.length - 800) < 120, `${bred.length} of about 800`);
  for (const [i, one] of bred.entries()) {
    if (parents.includes(one)) continue;
    const sibling = parents.includes(bred[i - 1]!) ? bred[i + 1]! : bred[i - 1]!;
    const parent = bred[parents.includes(bred[i - 1]!) ? i - 1 : i - 2]!;
    assert.ok(one.ids.every((id, j) => id === parent.ids[j] || sibling.ids[j] === parent.ids[j]));
  }
  const mutated = breed(parents, { ...options, crossoverRate: 0, mutationRate: 0.25 }, random);
  assert.is(mutated.length, 400);
  const changed = mutated.filter((x, i) => x !== parents[i]);
  assert.ok(Math.abs(changed.length - 100) < 40, `${changed.length} of about 100`);
  for (const [i, { ids, distance }] of mutated.entries()) {
    assert.ok(ids.filter((id, j) => id !== parents[i]!.ids[j]).length <= 1 && distance === undefined);
  }
});

test("selection keeps the nearer half and measures nothing twice", async () => {
  const lists = [[5], [3], [9], [1], [7]].map((ids) => ({ ids }));
  const seen: number[][] = [];
  const measure = async (ids: readonly (readonly number[])[]): Promise<number[]> => ids.map((list) => (seen.push([...list]), list[0]!));
  const options: GeneticOptions = { population: 5, tokens: 1, crossoverRate: 0, mutationRate: 0, tokenLimit: 10 };
  const kept = await select(lists, options, measure);
  assert.equal(kept, [{ ids: [1], distance: 1 }, { ids: [3], distance: 3 }]);
  await select([...kept, { ids: [2] }], options, measure);
  assert.equal(seen, [[5], [3], [9], [1], [7], [2]]);
});

interface Run {
  readonly losses: readonly number[];
  readonly prompts: readonly string[];
  readonly states: readonly AttackState[];
  readonly loss: readonly (number | null)[];
}

async function run(changed: Partial<AttackOptions> = {}, stopAt = Infinity): Promise<Run> {
  const events: AttackEvent[] = [];
  const controller = new AbortController();
  const options: AttackOptions = {
    attacker: "ring-a-bell",
    conceptPairs: PAIRS,
    prompt: "a picture",
    judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
    seed: 3,
    steps: 2,
    scheduler: "ddim",
    tokens: 5,
    population: 16,
    generations: 24,
    maxTimesteps: 2,
    signal: controller.signal,
  };
  const done = attack(await emojiModel(), { ...options, ...changed }, (e) => {
    events.push(e);
    if (e.type === "losses" && e.iteration >= stopAt) controller.abort();
  });
  await done.catch((error: unknown) => {
    if (stopAt === Infinity || (error as Error).name !== "AbortError") throw error;
  });
  return {
    losses: events.flatMap((e) => (e.type === "losses" ? e.losses : [])),
    prompts: events.flatMap((e) => (e.type === "evaluation" ? [e.evaluation.prompt] : [])),
    loss: events.flatMap((e) => (e.type === "evaluation" ? [e.evaluation.loss] : [])),
    states: events.flatMap((e) => (e.type === "state" ? [e.state] : [])),
  };
}

test("the search comes nearer, the same for the same seed, and goes on where it was cut off", async () => {
  const whole = await run();
  assert.is(whole.losses.length, 24);
  const [first, last] = [whole.losses[0]!, whole.losses.at(-1)!];
  assert.ok(last < 0.9 * first, `from ${first} to ${last}`);
  assert.is(whole.prompts.length, 3);
  assert.is(whole.loss[1], last);
  assert.ok(whole.loss[2]! >= last);
  assert.equal((await run()).prompts, whole.prompts);
  assert.not.equal((await run({ attackSeed: 7 })).prompts, whole.prompts);
  const cut = await run({}, 5);
  const state = cut.states.at(-1)!;
  assert.ok(cut.losses.length < 24 && state.iteration === cut.losses.length, `${state.iteration} generations, ${cut.losses.length} losses`);
  const rest = await run({ resume: JSON.parse(JSON.stringify(state)) as AttackState });
  assert.equal([...cut.losses, ...rest.losses], whole.losses);
  assert.equal(rest.prompts, whole.prompts.slice(1));
});

test("the attack aims eta concept vectors away, and breeds at its own rates", async () => {
  const model = await emojiModel();
  const [prompt, eta] = ["a picture", -2];
  const onlyCut = await run({ eta, crossoverRate: 1, mutationRate: 0, generations: 20 });
  const target = await conceptTarget(model, prompt, await conceptVector(model, PAIRS), eta);
  const { individuals } = onlyCut.states.at(-1)!.search as { individuals: { ids: number[]; distance: number }[] };
  const best = individuals[0]!;
  const { data } = await model.encodeText(model.tokenizer.frame(best.ids));
  const expected = data.reduce((sum, x, j) => sum + (x - target[j]!) ** 2, 0);
  assert.ok(Math.abs(best.distance / expected - 1) < 1e-4, `${best.distance} instead of ${expected}`);
  // What is only cut and joined has at each place a token that stood there at first.
  const first = (onlyCut.states[0]!.search as { individuals: { ids: number[] }[] }).individuals;
  for (const { ids } of individuals) {
    ids.forEach((id, j) =>
      assert.ok(
        first.some((one) => one.ids[j] === id),
        `token ${id} at ${j} is new`,
      ),
    );
  }
  assert.not.ok(
    first.some(({ ids }) => ids.join() === best.ids.join()),
    "nothing was joined",
  );
});

test("what cannot be is refused", async () => {
  const refused = async (changed: Partial<AttackOptions>, message: RegExp): Promise<void> => {
    try {
      await run(changed);
    } catch (error) {
      assert.instance(error, UsageError);
      return assert.match((error as Error).message, message);
    }
    assert.unreachable(`not refused: ${JSON.stringify(changed)}`);
  };
  await refused({ conceptPairs: [] }, /"ring-a-bell" needs pairs of prompts/);
  await refused({ tokens: 31 }, /tokens must be a whole number from 1 to 30, got 31/);
  await refused({ mutationRate: 1.5 }, /mutationRate must be a number from 0 to 1, got 1.5/);
  await refused({ population: 1 }, /population must be a whole number from 2 to 100000, got 1/);
  const { states } = await run({ generations: 1 });
  await refused({ resume: { ...states[0]!, search: { generation: 1, individuals: [] } } }, /holds no population/);
});

test("the bundled pairs are read; a pair without a difference is not", async () => {
  const read = async (name: string): Promise<readonly ConceptPair[]> => parseConceptPairs(name, await readText(resolvePath(name)));
  const pairs = await read("emoji/concept-pairs/church.csv");
  assert.ok(pairs.length >= 10 && pairs.every((p) => /church|chapel/.test(p.with) && !/church|chapel/.test(p.without)));
  try {
    await read("emoji/dataset/church/prompts.csv");
    assert.unreachable();
  } catch (error) {
    assert.instance(error, FormatError);
    assert.match((error as Error).message, /no column "with"/);
  }
});

finish();
