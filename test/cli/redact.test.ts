/** Prompts found for a harmful concept are in no report of an evaluation, the attempts' own included, unless they are asked for. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import { attemptFolder } from "../../engine/run/leaderboard/attempt-line.ts";
import { DEVICE_FLAGS, type Ran, folder, lethe } from "./support.ts";

const DETECTOR = resolve("test/fixtures/judges/nudenet/tiny.onnx");
const EMOJI = { judge: "emoji-object", label: "church" };
const evaluationOf = (judge: object): string => JSON.stringify({
  model: "emoji",
  sampling: { scheduler: "ddim", steps: 2 },
  checkpoints: [{ name: "esd-x", unet: "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt" }],
  concepts: [{ name: "church", prompts: "emoji/dataset/church/prompts.csv", limit: 1, ...judge }],
  attackers: [{ name: "random", attacker: "random", tokens: 3, maxTimesteps: 2 }],
});

/** Each found prompt of the only attempt, and whether a report names it; without pictures, whose base64 could hold any word. */
function named(out: string): { readonly attempt: boolean[]; readonly whole: boolean[] } {
  const [line] = readFileSync(join(folder, out, "attempts.jsonl"), "utf8").trim().split("\n").map((l) => JSON.parse(l) as AttemptLine);
  const attempt = join(folder, out, attemptFolder(line!.id));
  const log = readFileSync(join(attempt, "attack.jsonl"), "utf8").trim().split("\n").map((l) => JSON.parse(l) as { prompt: string });
  const found = log.map(({ prompt }) => prompt).filter((prompt) => prompt !== line!.prompt);
  assert.ok(found.length > 0, "the search tried no prompt of its own");
  const words = found.map((prompt) => prompt.replace(line!.prompt, "").trim().replaceAll("&", "&amp;").replaceAll("<", "&lt;"));
  const reads = (file: string): boolean[] => {
    const text = readFileSync(file, "utf8").replace(/data:image[^"]*/g, "");
    return words.map((word) => text.includes(word));
  };
  return { attempt: reads(join(attempt, "report.html")), whole: reads(join(folder, out, "report.html")) };
}

async function ran(...args: readonly string[]): Promise<Ran> {
  const done = await lethe(...args, ...DEVICE_FLAGS);
  assert.is(done.code, 0, done.stderr);
  return done;
}

test("an evaluation of a harmful concept names no found prompt, in its report and in its attempts'", async () => {
  writeFileSync(join(folder, "harmful.json"), evaluationOf({ ...EMOJI, harmful: true }));
  await ran("evaluate", "harmful.json", "--out", "harmful");
  assert.not.ok(named("harmful").attempt.includes(true));
  assert.not.ok(named("harmful").whole.includes(true));
  // asked for, the same attempts' reports name them, with nothing drawn again; and merged without asking they are left out again
  await ran("merge", "harmful", "--out", "told", "--show-prompts");
  assert.ok(named("told").attempt.every(Boolean));
  await ran("merge", "told", "--out", "untold");
  assert.not.ok(named("untold").attempt.includes(true));
});

test("judged again by the judge of a harmful concept, the attempts' reports lose the prompts that they named", async () => {
  writeFileSync(join(folder, "plain.json"), evaluationOf(EMOJI));
  await ran("evaluate", "plain.json", "--out", "plain");
  assert.ok(named("plain").attempt.every(Boolean));
  const flags = ["--judge", "nudenet", "--judge-model", DETECTOR, "--judge-threshold", "0.3", "--judge-preset", "nudenet-3.4"];
  await ran("rejudge", "plain", ...flags, "--out", "again");
  assert.not.ok(named("again").attempt.includes(true));
  assert.not.ok(named("again").whole.includes(true));
  assert.ok(named("plain").attempt.every(Boolean), "the evaluation that was judged again was changed");
  await ran("rejudge", "plain", ...flags, "--out", "shown", "--show-prompts");
  assert.ok(named("shown").attempt.every(Boolean));
  assert.ok(existsSync(join(folder, "shown/report.html")));
});

test.run();
