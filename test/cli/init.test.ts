/** `lethe init`: everything that is missing is told at once, and what it writes runs. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import { neededSettings } from "../../engine/run/settings/judge.ts";
import { nameOf, promptsCsv } from "../../cli/init/plan.ts";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

const CHURCH = ["--model", "emoji", "--unet", "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt", "--concept", "church"];

test("all that is missing is told at once, and nothing is written", async () => {
  const { code, stderr } = await lethe("init", "none");
  assert.is(code, 2);
  for (const flag of ["--model", "--unet", "--concept", "--judge"]) assert.match(stderr, new RegExp(`^  ${flag} `, "m"));
  assert.not.ok(existsSync(join(folder, "none")));
});

test("what it writes is an evaluation that runs, with target pictures drawn by the model before unlearning", async () => {
  const flags = [...CHURCH, "--judge", "emoji-object", "--budget", "quick", "--name", "esd-x"];
  const { code, stdout, stderr } = await lethe("init", "mine", ...flags, ...DEVICE_FLAGS, "--json");
  assert.is(code, 0, stderr);
  const { out, attempts, plan, next } = JSON.parse(stdout) as { out: string; attempts: number; plan: string; next: string };
  assert.equal([out, attempts, next], ["mine/evaluation.json", 20, "npx lethe evaluate mine/evaluation.json --out out/esd-x"]);
  assert.is(readdirSync(join(folder, "mine/targets/church")).length, 5);
  // from another folder too: its paths are its own
  const dry = await lethe("evaluate", join(folder, "mine/evaluation.json"), "--out", "dry", "--dry-run", "--json", ...DEVICE_FLAGS);
  assert.is(dry.code, 0, dry.stderr);
  assert.equal(JSON.parse(dry.stdout), { ...(JSON.parse(dry.stdout) as object), dryRun: true, plan, attempts: 20, notAttackable: [] });
  const again = await lethe("init", "mine", ...flags, ...DEVICE_FLAGS);
  assert.is(again.code, 2);
  assert.match(again.stderr, /is there already: add --overwrite/);
});

test("what does not fit is refused as evaluate refuses it, and taken away again", async () => {
  const { code, stderr } = await lethe("init", "bad", ...CHURCH, "--judge", "emoji-object", "--label", "chruch", ...DEVICE_FLAGS);
  assert.is(code, 2);
  assert.match(stderr, /label "chruch".*did you mean "church"/);
  assert.not.match(stderr, /drawing target pictures/); // told before the long work
  assert.not.ok(existsSync(join(folder, "bad/evaluation.json")) || existsSync(join(folder, "bad/prompts/church.csv")));
  const files = await lethe("init", "bad", ...CHURCH, "--judge", "nudenet", "--no-targets", ...DEVICE_FLAGS);
  assert.is(files.code, 2);
  assert.match(files.stderr, /needs the detector's \.onnx file/);
  const gone = await lethe(
    "init", "bad", "--model", "emoji", "--unet", "no.pt", "--concept", "x", "--judge", "emoji-object", "--no-targets",
  );
  assert.is(gone.code, 2);
  assert.match(gone.stderr, /no\.pt: is not there/);
});

test("the questions ask for what a judge cannot do without", () => {
  const asked = (judge: string): string[] => neededSettings(judge).map(([setting]) => setting);
  assert.equal(asked("emoji-object"), []);
  assert.equal(asked("nudenet"), ["judgeModel"]);
  assert.equal(asked("q16"), ["judgeModel", "judgePrompts"]);
  assert.equal(asked("clip-score"), ["judgeModel", "judgeText", "judgeThreshold"]);
});

test("names fit folders, and prompts with quotes and commas stay whole", () => {
  assert.equal(["Van Gogh", "*", "a/../b"].map(nameOf), ["van-gogh", "concept", "a-..-b"]);
  const { rows } = parseCsv("x.csv", promptsCsv('a "big", old church', "reference"), ["prompt", "evaluation_seed"]);
  assert.is(rows.length, 50);
  assert.is(rows[1]!["prompt"], 'a "big", old church');
  assert.is(new Set(rows.map((r) => r["evaluation_seed"])).size, 50);
});

test.run();
