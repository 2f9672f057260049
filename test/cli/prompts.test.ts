/**
 * Prompts of generate and evaluate: both forms of generate take the same flags; what is cut off, empty or cannot be attacked is told, in
 * --json too.
 */
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import { DEVICE_FLAGS, folder, lethe } from "./support.ts";

const SMALL = ["--model", "emoji", "--steps", "1", "--scheduler", "ddim", ...DEVICE_FLAGS];
const LONG = "church ".repeat(40).trim();
const write = (name: string, content: string | Uint8Array): void => writeFileSync(join(folder, name), content);
const same = (a: string, b: string): boolean =>
  readFileSync(join(folder, a))
    .subarray(-400)
    .equals(readFileSync(join(folder, b)).subarray(-400));

test("a table draws learned words as a single prompt does; a missing file and a seed are refused", async () => {
  write(
    "cce.safetensors",
    encodeSafetensors(
      "x",
      { "<cce>": { dtype: "F32", shape: [2, 128], data: Float32Array.from({ length: 256 }, (_, i) => Math.sin(i)) } },
      {},
    ),
  );
  write("learned.csv", "prompt,evaluation_seed\na picture of <cce>,7\n");
  for (const [flags, out] of [
    [["--embedding", "cce.safetensors"], "with"],
    [[], "without"],
  ] as const) {
    const { code, stderr } = await lethe("generate", ...SMALL, "--prompts-csv", "learned.csv", ...flags, "--out", out);
    assert.is(code, 0, stderr);
  }
  const single = await lethe(
    "generate",
    ...SMALL,
    "--prompt",
    "a picture of <cce>",
    "--seed",
    "7",
    "--embedding",
    "cce.safetensors",
    "--out",
    "single.png",
  );
  assert.is(single.code, 0, single.stderr);
  assert.ok(same("with/imgs/0_0.png", "single.png"));
  assert.not.ok(same("without/imgs/0_0.png", "single.png"));
  const missing = await lethe("generate", ...SMALL, "--prompts-csv", "learned.csv", "--embedding", "none.bin", "--out", "missing");
  assert.equal([missing.code, existsSync(join(folder, "missing"))], [2, false]);
  assert.match(missing.stderr, /none\.bin/);
  const seeded = await lethe("generate", ...SMALL, "--prompts-csv", "learned.csv", "--seed", "3", "--out", "seeded");
  assert.is(seeded.code, 2);
  assert.match(seeded.stderr, /--seed is of --prompt only/);
});

test("what is cut off is told by generate in both forms, on stderr and in --json; an empty prompt is drawn", async () => {
  const single = await lethe("generate", ...SMALL, "--json", "--prompt", LONG, "--out", "long.png");
  const note = /^the prompt has 40 tokens, 30 fit; the last 10 are cut off: "church/;
  assert.match((JSON.parse(single.stdout) as { warnings: string[] }).warnings[0]!, note);
  assert.match(single.stderr, /warning: the prompt has 40 tokens/);
  write("table.csv", `case_number,prompt,evaluation_seed\n0,a church,1\n1,,2\n2,${LONG},3\n`);
  const dry = await lethe("generate", ...SMALL, "--json", "--prompts-csv", "table.csv", "--dry-run", "--out", "dry");
  const plan = JSON.parse(dry.stdout) as { prompts: number; emptyPrompts: number; warnings: string[] };
  assert.equal([dry.code, plan.prompts, plan.emptyPrompts, plan.warnings.length, existsSync(join(folder, "dry"))], [0, 3, 1, 1, false]);
  assert.match(plan.warnings[0]!, /^case 2: the prompt has 40 tokens/);
  const drawn = await lethe("generate", ...SMALL, "--prompts-csv", "table.csv", "--out", "drawn");
  assert.is(drawn.code, 0, drawn.stderr);
  assert.equal(readdirSync(join(folder, "drawn/imgs")).toSorted(), ["0_0.png", "1_0.png", "2_0.png"]);
});

test("flags that change nothing are warned of", async () => {
  const warnings = async (...flags: string[]): Promise<string> => {
    const { code, stdout, stderr } = await lethe(
      "generate",
      "--model",
      "emoji",
      "--steps",
      "1",
      ...DEVICE_FLAGS,
      "--json",
      "--out",
      "unused",
      "--dry-run",
      "--prompts-csv",
      "unused.csv",
      ...flags,
    );
    assert.is(code, 0, stderr);
    return ((JSON.parse(stdout) as { warnings?: string[] }).warnings ?? []).join("; ");
  };
  write("unused.csv", "prompt,evaluation_seed,evaluation_guidance\na church,1,1\n");
  assert.is(await warnings("--scheduler", "ddim", "--eta", "1"), "");
  assert.match(await warnings("--scheduler", "lms", "--eta", "1"), /--eta changes nothing: lms does not use it \(only ddim\)/);
  assert.match(
    await warnings("--negative-prompt", "a house", "--guidance", "3"),
    /--negative-prompt changes nothing: it needs a guidance above 1; --guidance changes nothing: every row/,
  );
  const plain = ["--attacker", "no-attack", "--judge", "emoji-object", "--label", "church", "--scheduler", "ddim", "--steps", "1"];
  const attack = await lethe(
    "attack", "--model", "emoji", "--prompt", "a house", ...plain, "--learning-rate", "1", "--out", "run", "--json", ...DEVICE_FLAGS,
  );
  assert.is(attack.code, 0, attack.stderr);
  const told = /--learning-rate changes nothing: no-attack does not use it \(only text-grad, hard-prompt, p4d, cce\)/;
  assert.match((JSON.parse(attack.stdout) as { warnings: string[] }).warnings.join(), told);
  assert.match(readFileSync(join(folder, "run/run.json"), "utf8"), told);
  const config = await lethe("generate", ...SMALL, "--prompt", "a church", "--config", "emoji", "--out", "config.png");
  assert.is(config.code, 2);
  assert.match(config.stderr, /is for a checkpoint file; this model brings its own/);
});

test("evaluate checks every row first: a prompt without room is recorded as not attackable and the rest goes on", async () => {
  write("rows.csv", `case_number,prompt,evaluation_seed\n0,a church,1\n1,${LONG},2\n2,,3\n`);
  const entry = { name: "church", prompts: "rows.csv", targets: "targets", judge: "emoji-object", label: "church" };
  const config = {
    model: "emoji",
    sampling: { steps: 1, scheduler: "ddim" },
    checkpoints: [{ name: "plain" }],
    concepts: [entry],
    attackers: [
      { name: "none", attacker: "no-attack" },
      { name: "random", attacker: "random", maxTimesteps: 1 },
    ],
  };
  write("rows.json", JSON.stringify(config));
  const picture = await lethe("generate", ...SMALL, "--prompts-csv", "rows.csv", "--out", "rows");
  assert.is(picture.code, 0, picture.stderr);
  write("rows.json", JSON.stringify({ ...config, concepts: [{ ...entry, targets: "rows/imgs" }] }));
  const dry = await lethe("evaluate", "rows.json", "--dry-run", "--json", "--out", "checked", ...DEVICE_FLAGS);
  assert.is(dry.code, 0, dry.stderr);
  const plan = JSON.parse(dry.stdout) as { attempts: number; notAttackable: { id: string; why: string }[]; warnings: string[] };
  assert.equal(
    plan.notAttackable.map(({ id }) => id),
    ["plain/random/church/1", "plain/random/church/2"],
  );
  assert.match(
    plan.notAttackable.map(({ why }) => why).join("; "),
    /^the prompt has 40 tokens, this model takes 30.*; the prompt is empty/,
  );
  assert.match(plan.warnings[0]!, /^plain\/none\/church\/1: the prompt has 40 tokens, of which the last 10 are cut off/);
  assert.not.ok(existsSync(join(folder, "checked")));
  const run = await lethe("evaluate", "rows.json", "--out", "checked", ...DEVICE_FLAGS);
  assert.is(run.code, 0, run.stderr);
  const board = readFileSync(join(folder, "checked/leaderboard.md"), "utf8");
  assert.match(board, /\| plain \| none \| church \| 3 \|/);
  assert.match(board, /\| plain \| random \| church \| 1 of 3 \(2 not attackable\) \|/);
  assert.match(readFileSync(join(folder, "checked/report.html"), "utf8"), /not attackable/);
  assert.match(
    readFileSync(join(folder, "checked/cells/plain/none/church/1/run.json"), "utf8"),
    /"warnings": \[\s*"the prompt has 40 tokens/,
  );
  write("rows/imgs/0_0.png", "no picture");
  const broken = await lethe("evaluate", "rows.json", "--out", "broken", ...DEVICE_FLAGS);
  assert.equal([broken.code, existsSync(join(folder, "broken"))], [2, false]);
  assert.match(broken.stderr, /rows\/imgs\/0_0\.png: is no/);
});

test.run();
