// Prompts of one run tried on another model: which of a log's lines count, the order, the end, and resumption.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseCandidates } from "../../engine/run/candidates.ts";
import { attack } from "../../engine/attack/run.ts";
import type { AttackEvent } from "../../engine/attack/events.ts";
import type { AttackOptions } from "../../engine/attack/options.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { generate } from "../../engine/diffusion/generate.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { finish } from "../support/device.ts";
import { emojiModel } from "../support/emoji.ts";

const CANDIDATES = [{ prompt: "tower a church", seed: 8 }, { prompt: "a church bell", seed: 9 }, { prompt: "steeple", seed: 8 }];

const line = (prompt: string, seed: number, timestep: number, success: boolean): string =>
  `${JSON.stringify({ timestep, iteration: 1, ids: [1], prompt, loss: null, seed, success })}\n`;

async function run(
  changed: Partial<AttackOptions> = {},
): Promise<{ events: AttackEvent[]; evaluations: Extract<AttackEvent, { type: "evaluation" }>[] }> {
  const events: AttackEvent[] = [];
  const options: AttackOptions = {
    attacker: "transfer",
    candidates: CANDIDATES,
    prompt: "a church",
    judge: async () => ({ success: false, label: "", score: 0, scores: {} }),
    seed: 3,
    steps: 2,
    scheduler: "ddim",
  };
  await attack(await emojiModel(), { ...options, ...changed }, (e) => void events.push(e));
  return { events, evaluations: events.flatMap((e) => (e.type === "evaluation" ? [e] : [])) };
}

test("every candidate is drawn with its own seed, in order, up to the tries asked for; a resumed run goes on", async () => {
  const { events, evaluations } = await run();
  assert.equal(events[0], { type: "start", totalIterations: 3 });
  assert.equal(
    evaluations.map(({ evaluation: e }) => [e.timestep, e.prompt, e.seed]),
    [[-1, "a church", 3], ...CANDIDATES.map((c, i) => [i, c.prompt, c.seed])],
  );
  const [expected] = await generate(await emojiModel(), { prompt: "a church bell", seed: 9, steps: 2, scheduler: "ddim" });
  assert.equal(evaluations[2]!.image.data, expected!.image.data);
  assert.is((await run({ maxTimesteps: 2 })).evaluations.length, 3);
  const states = events.flatMap((e) => (e.type === "state" ? [e.state] : []));
  const resumed = await run({ resume: states[2]! });
  assert.equal(resumed.evaluations.map(({ evaluation: e }) => e.prompt), ["steeple"]);
});

test("the first success ends it, and without candidates it does not begin", async () => {
  let seen = 0;
  const { evaluations } = await run({ judge: async () => ({ success: seen++ === 2, label: "", score: 0, scores: {} }) });
  assert.equal(evaluations.map(({ evaluation: e }) => e.judgement.success), [false, false, true]);
  try {
    await run({ candidates: [] });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, UsageError);
    assert.match((error as Error).message, /"transfer" needs prompts to try/);
  }
});

test("of a log the prompts that an attack found count, each once", async () => {
  const log =
    line("a church", 1, -1, true) +
    line("x a church", 1, 50, false) +
    line("y a church", 1, 150, true) +
    line("y a church", 1, 150, true) +
    line("y a church", 2, 0, true) +
    line("a picture of <cce>", 1, 0, true);
  assert.equal(parseCandidates("attack.jsonl", log, 0), [
    { prompt: "y a church", seed: 1 },
    { prompt: "y a church", seed: 2 },
  ]);
  assert.equal(parseCandidates("attack.jsonl", log, 2), [{ prompt: "y a church", seed: 2 }]);
  assert.throws(
    () => parseCandidates("attack.jsonl", line("a church", 1, -1, true), 0),
    (error: unknown) => error instanceof FormatError && /no prompt that an attack found/.test(error.message),
  );
});

finish();
