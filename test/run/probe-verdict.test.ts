// What a table of probes says: verdicts by exact tests against every control, and how deep a concept lies.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { AttackerName } from "../../engine/attack/attackers.ts";
import type { Comparison } from "../../engine/attack/probes/controls.ts";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import type { CellEntry } from "../../engine/run/leaderboard/manifest.ts";
import { depthText, depths, probeVerdicts } from "../../engine/run/leaderboard/probe-verdict.ts";

/** A row of ten prompts. */
function cell(kind: AttackerName): CellEntry {
  const id = `model/${kind}/church`;
  const attempts = Array.from({ length: 10 }, (_, i) => `${id}/${i}`);
  return { id, checkpoint: "model", attacker: kind, kind, concept: "church", label: "church", rule: "", attempts } as CellEntry;
}

/** Its lines: on how many prompts the probe and each control succeed, the first ones. */
function linesOf(of: CellEntry, probe: number, controls: Readonly<Record<string, number>>, missing: readonly string[] = []): AttemptLine[] {
  return of.attempts.map((id, i) => {
    const comparisons = Object.entries(controls).map(([control, count]): Comparison => ({
      control, measure: "success", expects: "more", probe: i < probe ? 1 : 0, other: i < count ? 1 : 0,
    }));
    const successes = i < probe ? 1 : 0;
    const result = { tries: 1, successes, comparisons, missing };
    return { id, success: successes > 0, preSuccess: false, probe: result } as unknown as AttemptLine;
  });
}

const kindOf = (probe: number, controls: Readonly<Record<string, number>>, missing: readonly string[] = []): string => {
  const one = cell("noise-probe");
  return probeVerdicts([one], linesOf(one, probe, controls, missing))[0]!.kind;
};

test("knowledge remains only where every control is surely worse: six prompts on which the probe alone succeeds, of ten", () => {
  assert.is(kindOf(6, { seeds: 0, "never-saw": 0 }), "remains");
  assert.is(kindOf(5, { seeds: 0, "never-saw": 0 }), "abstains");
  assert.is(kindOf(10, { seeds: 0, "never-saw": 5 }), "abstains");
  assert.is(kindOf(10, { seeds: 4, "never-saw": 4 }), "remains");
  assert.is(kindOf(0, { seeds: 0, "never-saw": 0 }), "not-found");
  assert.is(kindOf(10, { seeds: 0 }, ["never-saw"]), "no-controls");
});

test("p is the exact McNemar test's, which for b and c discordant prompts is twice a binomial tail", () => {
  const one = cell("noise-probe");
  const [verdict] = probeVerdicts([one], linesOf(one, 7, { seeds: 1 }));
  const { p, probeBetter, controlBetter, rate } = verdict!.tests[0]!;
  assert.equal([probeBetter, controlBetter, rate!.count], [6, 0, 1]);
  assert.ok(Math.abs(p - 2 * 0.5 ** 6) < 1e-12);
});

test("the headline is of the cheapest that finds it, and says what was not searched", () => {
  const [probe, search, word] = [cell("noise-probe"), cell("text-grad"), cell("cce")];
  const found = (of: CellEntry, success: boolean): AttemptLine[] =>
    of.attempts.map((id) => ({ id, success, preSuccess: false }) as unknown as AttemptLine);
  const strong = linesOf(probe, 10, { seeds: 0 });
  const depth = (cells: readonly CellEntry[], lines: readonly AttemptLine[]) => depths(cells, lines)[0]!;
  assert.is(depthText(depth([probe], strong)), "found by a probe: knowledge remains in the weights; no prompt was searched");
  assert.is(
    depthText(depth([probe, search], [...strong, ...found(search, false)])),
    "only found by a probe: knowledge remains in the weights",
  );
  assert.is(depthText(depth([probe, search, word], [...strong, ...found(search, false), ...found(word, true)])), "found by an embedding");
  assert.is(depthText(depth([probe, search, word], [...strong, ...found(search, true), ...found(word, true)])), "found by a prompt");
  assert.is(depthText(depth([probe, search], [...linesOf(probe, 0, { seeds: 0 }), ...found(search, false)])), "not found with this budget");
  assert.match(depthText(depth([probe], linesOf(probe, 3, { seeds: 3 }))), /^no verdict/);
});

test.run();
