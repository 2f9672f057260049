/** `lethe rejudge`: the same judge gives the same verdicts, from scores and from pictures; another threshold gives what it says. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { nudityJudge, styleJudge } from "../../engine/attack/judges/open.ts";
import { rescore } from "../../engine/attack/judges/rescore.ts";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import { NUDENET_PRESETS } from "../../engine/vision/nudenet-presets.ts";
import { DEVICE_FLAGS, type Ran, folder, lethe } from "./support.ts";

const IMAGE = { data: new Uint8Array(3), width: 1, height: 1 };
const LABELS = ["church", "house", "cat", "dog"];
const classifier = (probabilities: readonly number[]): Parameters<typeof styleJudge>[0] => ({
  labels: LABELS,
  labelIndex: (label) => LABELS.indexOf(label),
  classify: async () => ({ label: "", score: 0, probabilities: Float32Array.from(probabilities) }),
});

test("scores that were kept say what the judge itself says, for every label, top and threshold", async () => {
  const styles = classifier([0.2, 0.5, 0.25, 0.05]);
  const { scores } = await styleJudge(styles, "house")(IMAGE);
  for (const label of LABELS) {
    for (const top of [1, 2, 3, 4]) {
      assert.equal(rescore("style", { label, top }, scores), await styleJudge(styles, label, top)(IMAGE), `${label} ${top}`);
    }
  }
  assert.is(rescore("classifier", { label: "boat" }, scores), undefined); // not among those noted down: its score is not known
  const preset = NUDENET_PRESETS.unlearndiffatk;
  const box = (label: string, score: number): object => ({ label, score, box: [0, 0, 1, 1] });
  const detector = {
    classes: ["FACE_FEMALE", "BELLY_EXPOSED", "FEET_EXPOSED"],
    preset,
    boxes: async () => [box("FACE_FEMALE", 0.9), box("BELLY_EXPOSED", 0.62), box("FEET_EXPOSED", 0.1)],
  } as unknown as Parameters<typeof nudityJudge>[0];
  const seen = (await nudityJudge(detector)(IMAGE)).scores;
  for (const threshold of [0.05, 0.45, 0.619, 0.62, 0.7]) {
    assert.equal(rescore("nudenet", { threshold }, seen), await nudityJudge(detector, threshold)(IMAGE), String(threshold));
  }
  const clip = { "clip-score": 26.5 };
  assert.equal([26.4, 26.5, 26.6].map((threshold) => rescore("clip-score", { threshold, text: "x" }, clip)!.success), [true, true, false]);
});

const CONFIG = {
  model: "emoji",
  sampling: { scheduler: "ddim", steps: 4 },
  checkpoints: [{ name: "esd-x", unet: "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt" }],
  concepts: [{ name: "church", prompts: "emoji/dataset/church/prompts.csv", judge: "emoji-object", label: "church", limit: 2 }],
  attackers: [{ name: "seeds", attacker: "seed-search", maxTimesteps: 2 }],
};
writeFileSync(join(folder, "e.json"), JSON.stringify(CONFIG));
const lines = (out: string): AttemptLine[] =>
  readFileSync(join(folder, out, "attempts.jsonl"), "utf8").trim().split("\n").map((l) => JSON.parse(l) as AttemptLine);
const rejudge = (...flags: readonly string[]): Promise<Ran> => lethe("rejudge", "e", ...flags, ...DEVICE_FLAGS);

test("the same judge changes nothing, neither by its scores nor by its pictures", async () => {
  assert.is((await lethe("evaluate", "e.json", "--out", "e", ...DEVICE_FLAGS)).code, 0);
  const [before] = [lines("e")];
  const byScores = await rejudge("--label", "church", "--out", "same");
  assert.is(byScores.code, 0, byScores.stderr);
  assert.equal(lines("same"), before);
  // the same classifier under another name of judge: its pictures are looked at again
  const byPictures = await rejudge("--judge", "style", "--judge-model", "emoji/classifier/object", "--out", "looked");
  assert.is(byPictures.code, 0, byPictures.stderr);
  lines("looked").forEach((line, i) => {
    const { success, label, score, ids, preSuccess, queries } = before[i]!;
    assert.equal([line.success, line.label, line.ids, line.preSuccess, line.queries], [success, label, ids, preSuccess, queries]);
    assert.ok(Math.abs(line.score - score) < 1e-6);
    assert.is(line.judge!.name, "style");
    assert.ok(existsSync(join(folder, "looked", line.image)));
  });
  assert.ok(existsSync(join(folder, "looked/report.html")));
});

test("another label ends an attempt at the first picture that has it; the table is a count of its own", async () => {
  const [one] = lines("e");
  const log = readFileSync(join(folder, "e/cells", one!.id, "attack.jsonl"), "utf8").trim().split("\n");
  const pictures = log.map((l) => JSON.parse(l) as { scores: Record<string, number> });
  const tops = pictures.map(({ scores }) => Object.entries(scores).toSorted(([, a], [, b]) => b - a)[0]![0]);
  const label = tops.at(-1)!;
  const { code, stdout, stderr } = await rejudge("--label", label, "--out", "other", "--json");
  assert.is(code, 0, stderr);
  const [line] = lines("other");
  assert.equal([line!.success, line!.queries, line!.preSuccess], [true, tops.indexOf(label) + 1, tops[0] === label]);
  const { rows } = JSON.parse(stdout) as { rows: { asr: { count: number } }[] };
  assert.is(rows[0]!.asr.count, lines("other").filter((l) => l.success).length);
  const manifest = (out: string): { sha256: string } =>
    JSON.parse(readFileSync(join(folder, out, "evaluation.json"), "utf8")) as { sha256: string };
  assert.is.not(manifest("other").sha256, manifest("e").sha256);
});

test("what cannot be is refused, and an evaluation is not overwritten", async () => {
  for (const [flags, pattern] of [
    [[], /say how to judge/],
    [["--judge", "nudenet"], /needs the detector's \.onnx file/],
    [["--label", "church", "--concept", "fish"], /there is no "fish"; there are church/],
    [["--label", "church", "--out", "e"], /e holds an evaluation already/],
  ] as const) {
    const { code, stderr } = await rejudge(...flags);
    assert.is(code, 2);
    assert.match(stderr, pattern);
  }
});

test.run();
