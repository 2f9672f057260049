// Universal attacks, ring-a-bell and the options beyond the publications, as processes.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEVICE_FLAGS, folder, lethe, start } from "./support.ts";

interface Line {
  readonly case?: number;
  readonly restart?: number;
  readonly prompt: string;
  readonly loss: number | null;
  readonly image: string | null;
  readonly success: boolean;
  readonly gate?: { readonly passed: boolean };
  readonly screening?: { readonly passed: boolean };
}

const MODEL = [
  "--model",
  "emoji",
  "--unet",
  "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt",
  "--judge",
  "emoji-object",
  "--label",
  "church",
  "--scheduler",
  "ddim",
  "--steps",
  "2",
  "--seed",
  "3",
  ...DEVICE_FLAGS,
];
const lines = (out: string): Line[] =>
  readFileSync(join(folder, out, "attack.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((l) => JSON.parse(l) as Line);
const course = (out: string): unknown => lines(out).map((line) => ({ ...line, ms: 0 }));

test("a universal attack with all options: its log, its counts, and the same after Ctrl-C and --resume", async () => {
  writeFileSync(join(folder, "prompts.csv"), "case_number,prompt,evaluation_seed\n0,a church,5\n4,the church,6\n");
  const flags = [
    "--universal",
    "--prompts",
    "prompts.csv",
    "--targets",
    "emoji/dataset/church/imgs",
    "--cases-per-step",
    "2",
    "--restarts",
    "2",
    "--timesteps-per-step",
    "2",
    "--timestep-order",
    "gradient",
    "--gate",
    "diffusion",
    "--gate-margin",
    "-0.02",
    "--gate-samples",
    "2",
    "--screening-steps",
    "1",
    "--tokens",
    "2",
    "--iterations",
    "3",
    "--timesteps",
    "10",
    "--max-timesteps",
    "4",
  ];
  const running = start(["attack", ...MODEL, ...flags, "--out", "cut"]);
  await running.said(/iteration 3 /);
  running.interrupt();
  assert.is((await running.ended).code, 130);
  const resumed = await lethe("attack", "--resume", ...DEVICE_FLAGS, "--out", "cut");
  assert.is(resumed.code, 0, resumed.stderr);
  const whole = await lethe("attack", ...MODEL, ...flags, "--json", "--out", "whole");
  assert.is(whole.code, 0, whole.stderr);
  assert.equal(course("cut"), course("whole"));
  const json = JSON.parse(whole.stdout) as { universal: { cases: number }; tried: Record<string, number>; prompt: string };
  const log = lines("whole");
  assert.equal([json.prompt, json.universal.cases], ["a church", 2]);
  assert.equal(log.slice(0, 2).map((l) => [l.case, l.prompt]), [[0, "a church"], [1, "the church"]]);
  assert.equal([...new Set(log.slice(2).map((l) => l.restart))].toSorted(), [0, 1]);
  const count = (holds: (l: Line) => boolean): number => log.slice(2).filter(holds).length;
  const gatedOut = count((l) => l.gate?.passed === false);
  assert.is(
    count((l) => l.image === null),
    gatedOut,
  );
  assert.equal(json.tried, {
    candidates: 8,
    gatedOut,
    screened: count((l) => l.screening !== undefined),
    screenedOut: count((l) => l.screening?.passed === false),
    drawn: count((l) => l.gate?.passed !== false && !l.screening),
  });
  const report = readFileSync(join(folder, "whole/report.html"), "utf8");
  for (const part of ["of 2 prompts drew", "the church", "gate: error", "search 2"]) assert.ok(report.includes(part), part);
});

test("ring-a-bell by the command line; what does not go together is told", async () => {
  const flags = ["--attacker", "ring-a-bell", "--prompt", "a church"];
  const pairs = ["--concept-pairs", "emoji/concept-pairs/church.csv"];
  const { code, stdout, stderr } = await lethe(
    "attack",
    ...MODEL,
    ...flags,
    ...pairs,
    "--population",
    "8",
    "--generations",
    "3",
    "--max-timesteps",
    "2",
    "--json",
    "--out",
    "bell",
  );
  assert.is(code, 0, stderr);
  assert.is((JSON.parse(stdout) as { iterations: number }).iterations, 3);
  assert.is(lines("bell").length, 3);
  assert.match(readFileSync(join(folder, "bell/report.html"), "utf8"), /3 generations/);
  writeFileSync(join(folder, "bad.json"), '[["a church", 3]]');
  const wrong: [string[], RegExp][] = [
    [[...MODEL, ...flags], /--attacker ring-a-bell and --concept-pairs FILE go together/],
    [[...MODEL, ...flags, "--concept-pairs", "bad.json"], /bad\.json: pair 1 is \["a church",3\]; \[with, without\], two texts/],
    [[...MODEL, "--universal"], /'--prompt <prompt>' not specified|--universal needs a table of prompts/],
    [[...MODEL, "--prompt", "x", "--attacker", "random", "--cases-per-step", "2"], /--cases-per-step is of --universal only/],
    [
      [...MODEL, "--prompt", "x", "--attacker", "random", "--restarts", "2"],
      /restarts is of the attackers text-grad, hard-prompt and p4d, not of random/,
    ],
  ];
  for (const [args, message] of wrong) {
    const refused = await lethe("attack", ...args, "--out", "refused");
    assert.is(refused.code, 2, refused.stderr);
    assert.match(refused.stderr, message);
  }
});

test.run();
