// The attackers that know a text encoder, or nothing but judged pictures: the gradient against differences, the searches, resumption.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { AttackEvent } from "../../engine/attack/events.ts";
import type { AttackOptions } from "../../engine/attack/options.ts";
import { attack } from "../../engine/attack/run.ts";
import { tokenRows } from "../../engine/attack/search/nearest.ts";
import { synonymsOf } from "../../engine/attack/synonym-search.ts";
import { TextCosine } from "../../engine/attack/search/text-cosine.ts";
import { encodeLearned } from "../../engine/diffusion/learned-embedding.ts";
import { finish } from "../support/device.ts";
import { emojiModel } from "../support/emoji.ts";

const cosine = (a: Float32Array, b: Float32Array): number => {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot / Math.sqrt(aa * bb);
};

test("cosines are those of the encodings, in any number of prompts", async () => {
  const model = await emojiModel();
  const { tokenizer } = model;
  const target = (await model.encodePrompt("a church")).data;
  const prompts = ["a fish", "a small house in noto style", "a church"].map((p) => tokenizer.tokenize(p));
  const found = await TextCosine.to(model, target).of([...prompts, ...Array.from({ length: 70 }, () => prompts[0]!)]);
  assert.is(found.length, 73);
  for (const [i, ids] of prompts.entries()) {
    assert.ok(Math.abs(found[i]!.cosine - cosine((await model.encodePrompt(tokenizer.decode(ids))).data, target)) < 1e-5);
  }
  assert.ok(Math.abs(found[2]!.cosine - 1) < 1e-5 && Math.abs(found[72]!.cosine - found[0]!.cosine) < 1e-6);
});

test("the gradient is the slope towards each token's row", async () => {
  const model = await emojiModel();
  const target = (await model.encodePrompt("a church")).data;
  const text = TextCosine.to(model, target);
  const [first, second] = model.tokenizer.tokenize("tall house") as [number, number];
  const ids = [first, second];
  const scores = await text.gradient(ids, (await text.of([ids]))[0]!);
  const { vocabularySize, tokenWidth } = model.text;
  assert.is(scores.length, 2 * vocabularySize);
  const rows = await tokenRows(model, ids);
  for (const token of model.tokenizer.tokenize("church fish star")) {
    const row = await tokenRows(model, [token]);
    // A step along the token's row in the second place, by a learned word that stands there.
    const at = async (step: number): Promise<number> => {
      const moved = Float32Array.from({ length: tokenWidth }, (_, j) => rows[tokenWidth + j]! + step * row[j]!);
      return cosine((await encodeLearned(model, "tall <w>", [{ name: "<w>", rows: moved }])).data, target);
    };
    const slope = ((await at(0.02)) - (await at(-0.02))) / 0.04;
    const score = scores[vocabularySize + token]!;
    assert.ok(Math.abs(score - slope) < 0.02 * Math.abs(slope) + 1e-4, `${score} is not ${slope}`);
  }
});

test("synonyms: the word itself first, then its nearest words, as many as asked for", async () => {
  const model = await emojiModel();
  const ids = model.tokenizer.tokenize("a church");
  const [article, church] = await synonymsOf(model, ids, 5);
  assert.equal([article!.length, church!.length, church![0]], [1, 6, ids[1]]);
  assert.is(new Set(church).size, 6);
  const words = church!.map((id) => model.tokenizer.decode([id]).trim());
  assert.ok(words.some((w) => ["chapel", "cathedral", "churches", "parish", "catholic", "temple"].includes(w)), words.join());
});

type Drawn = Extract<AttackEvent, { type: "evaluation" }>;

async function run(changed: Partial<AttackOptions> & Pick<AttackOptions, "attacker">): Promise<{ events: AttackEvent[]; drawn: Drawn[] }> {
  const events: AttackEvent[] = [];
  await attack(
    await emojiModel(),
    { prompt: "a church", seed: 3, steps: 2, scheduler: "ddim", judge: async (image) => judged(image.data), ...changed },
    (e) => void events.push(e),
  );
  return { events, drawn: events.flatMap((e) => (e.type === "evaluation" ? [e] : [])) };
}

/** A score of the picture alone, that never succeeds. */
function judged(data: Uint8Array): { success: boolean; label: string; score: number; scores: Record<string, number> } {
  return { success: false, label: "", score: data.reduce((a, b) => a + b, 0) / data.length / 255, scores: {} };
}

const MMA = { attacker: "mma-text", tokens: 4, textIterations: 25, topTokens: 32, trials: 16, vocabulary: "words" } as const;

test("mma-text: the cosine only grows, no token of the prompt is used, and a resumed search finds the same", async () => {
  const { events, drawn } = await run(MMA);
  const losses = events.flatMap((e) => (e.type === "losses" ? e.losses : []));
  assert.is(losses.length, 25);
  losses.forEach((loss, i) => assert.ok(i === 0 || loss <= losses[i - 1]!));
  assert.ok(losses.at(-1)! < 0.8 * losses[0]!, `${losses[0]} to ${losses.at(-1)}`);
  assert.is(drawn.length, 2);
  assert.not.match(drawn[1]!.evaluation.prompt, /church/);
  const states = events.flatMap((e) => (e.type === "state" ? [e.state] : []));
  const half = states.find((s) => s.iteration === 20)!;
  const resumed = await run({ ...MMA, resume: half });
  assert.is(resumed.drawn[0]!.evaluation.prompt, drawn[1]!.evaluation.prompt);
});

test("synonym-search: draws no prompt twice, follows the scores, resumes, and is told where there is nothing to exchange", async () => {
  const options = { attacker: "synonym-search", prompt: "a picture of a church", maxTimesteps: 6, synonyms: 6 } as const;
  const { events, drawn } = await run(options);
  const prompts = drawn.map((d) => d.evaluation.prompt);
  assert.is(prompts.length, 7);
  assert.is(new Set(prompts).size, 7);
  const states = events.flatMap((e) => (e.type === "state" ? [e.state] : []));
  const half = states.find((s) => s.evaluations.length >= 3)!;
  const resumed = await run({ ...options, resume: half });
  assert.equal(resumed.drawn.map((d) => d.evaluation.prompt), prompts.slice(half.evaluations.length));
  const error = await run({ attacker: "synonym-search", prompt: "!!" }).catch((e: unknown) => e);
  assert.match((error as Error).message, /no word of the prompt "!!" has synonyms/);
});

finish();
