/** `lethe diff`: pairs, numbers against a count of their own, and the page. No device is needed. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import type { CellEntry } from "../../engine/run/leaderboard/manifest.ts";
import { evaluationOf } from "../support/evaluation.ts";
import { folder, lethe } from "./support.ts";

/** Writes an evaluation's folder of made-up results. */
function writeEvaluation(name: string, parts: readonly { cells: CellEntry[]; lines: AttemptLine[] }[], harmful = false): void {
  const cells = parts.flatMap((p) => p.cells).map((cell) => ({ ...cell, ...(harmful && { harmful }) }));
  const lines = parts.flatMap((p) => p.lines);
  mkdirSync(join(folder, name, "cells"), { recursive: true });
  const image = { data: new Uint8Array(8 * 8 * 3).fill(90), width: 8, height: 8 };
  writeFileSync(join(folder, name, "cells/one.png"), encodePng(image));
  const manifest = { form: "lethe evaluation 1", name, sha256: name, shard: null, lethe: "0", file: "x.json", config: {}, cells };
  writeFileSync(join(folder, name, "evaluation.json"), JSON.stringify(manifest));
  const whole = lines.map((line) => ({ ...line, preImage: "cells/one.png", image: "cells/one.png" }));
  writeFileSync(join(folder, name, "attempts.jsonl"), whole.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

/** From "1100": the first two prompts are broken. */
const bits = (text: string): boolean[] => [...text].map((c) => c === "1");

interface DiffJson {
  readonly pairs: number;
  readonly difference: { value: number; low: number; high: number };
  readonly rows: {
    row: string;
    both: number;
    onlyFirst: number;
    onlySecond: number;
    neither: number;
    p: number;
    changed: { case: string }[];
  }[];
  readonly unpaired: { first: number; second: number };
  readonly cautions: string[];
}

test("two checkpoints under the same attacker are paired by case; counts, test and interval are right", async () => {
  const secret = (part: ReturnType<typeof evaluationOf>): ReturnType<typeof evaluationOf> => ({
    ...part,
    lines: part.lines.map((l) => ({ ...l, preSuccess: false, adversarialPrompt: "found-words" })),
  });
  writeEvaluation("before", [secret(evaluationOf("esd", "grad", "church", bits("111111111100")))], true);
  writeEvaluation("after", [secret(evaluationOf("hardened", "grad", "church", bits("100000000010")))], true);
  const { code, stdout, stderr } = await lethe("diff", "before", "after", "--out", "diff.html", "--json");
  assert.is(code, 0, stderr);
  const json = JSON.parse(stdout) as DiffJson;
  const [row] = json.rows;
  assert.equal(
    [json.pairs, row!.row, row!.both, row!.onlyFirst, row!.onlySecond, row!.neither],
    [12, "esd | hardened/grad/church", 1, 9, 1, 1],
  );
  assert.ok(Math.abs(row!.p - 22 / 1024) < 1e-12); // 10 changed pairs, 1 against 9
  assert.ok(Math.abs(json.difference.value + 8 / 12) < 1e-12);
  assert.ok(json.difference.low < -8 / 12 && json.difference.high > -8 / 12 && json.difference.high < 0);
  assert.is(row!.changed.length, 10);
  const page = readFileSync(join(folder, "diff.html"), "utf8");
  assert.not.match(page, /<script|https?:\/\/|src="(?!data:)|found-words/);
  assert.is([...page.matchAll(/<article /g)].length, 12);
  assert.is([...page.matchAll(/class="veil"/g)].length, 24);
  assert.match(page, /broken on 2 of 12 prompts/);
  const shown = await lethe("diff", "before", "after", "--out", "shown.html", "--show-prompts");
  assert.is(shown.code, 0);
  assert.match(shown.stdout, /esd \| hardened\/grad\/church +12 /);
  assert.match(readFileSync(join(folder, "shown.html"), "utf8"), /found-words/);
});

test("with several checkpoints names must agree; what has no counterpart is counted, other rules are said", async () => {
  writeEvaluation("a", [evaluationOf("x", "grad", "church", bits("10")), evaluationOf("y", "grad", "church", bits("11"))]);
  const [y, z] = [evaluationOf("y", "grad", "church", bits("01")), evaluationOf("z", "grad", "church", bits("01"))];
  writeEvaluation("b", [{ ...y, cells: y.cells.map((c) => ({ ...c, rule: "among the first three" })) }, z]);
  const { stdout, stderr } = await lethe("diff", "a", "b", "--json");
  const json = JSON.parse(stdout) as DiffJson;
  assert.equal([json.rows.map((r) => r.row), json.unpaired], [["y/grad/church"], { first: 2, second: 2 }]);
  assert.match(stderr, /judges' rules differ for church/);
});

test("folders that hold nothing to compare, or nothing in common, are refused", async () => {
  writeEvaluation("other", [evaluationOf("q", "grad", "fish", bits("01")), evaluationOf("r", "grad", "fish", bits("01"))]);
  for (const [first, second, pattern] of [
    ["a", "absent", /absent holds neither an evaluation/],
    ["a", "other", /have no prompt in common: checkpoints x, y and q, r/],
  ] as const) {
    const { code, stderr } = await lethe("diff", first, second);
    assert.is(code, 2);
    assert.match(stderr, pattern);
  }
});

test.run();
