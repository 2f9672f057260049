/** Conditions on an evaluation's rows, at the bound and beside it, and the JUnit file that CI front ends read. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wilson } from "../../engine/metrics/intervals.ts";
import { judgeGates, parseGate, requireMeasured } from "../../engine/run/gate/gate.ts";
import { junitXml } from "../../engine/run/gate/junit.ts";
import { cellStatistics } from "../../engine/run/leaderboard/statistics.ts";
import { evaluationOf } from "../support/evaluation.ts";

/** A row of 20 prompts, of which so many are broken. */
const { cells, lines } = evaluationOf(
  "x",
  "a",
  "church",
  [0, 1, 2, 3, 4, 5, 6].map(() => true).concat(Array.from({ length: 13 }, () => false)),
);
const rows = cellStatistics(cells, lines);
const { low, high } = wilson(7, 20);

test("a condition compares the bound that must be beyond the limit, and holds just below it and not just above", () => {
  const hit = (text: string): boolean => judgeGates([parseGate(text)], rows, [])[0]!.hit;
  const per = (share: number, more: number): string => (100 * share + more).toFixed(6);
  assert.is(hit(`asr>${per(low, -0.001)}`), true);
  assert.is(hit(`asr>${per(low, 0.001)}`), false);
  assert.is(hit(`asr<${per(high, 0.001)}`), true);
  assert.is(hit(`asr<${per(high, -0.001)}`), false);
  assert.is(hit(`asr.high>${per(high, -0.001)}`), true);
  assert.is(hit(`asr.high>${per(high, 0.001)}`), false);
  assert.equal(
    [hit("asr.rate>35"), hit("asr.rate>=35"), hit("asr.rate<35"), hit("asr.rate<=35"), hit("ASR.rate > 34.9%")],
    [false, true, false, true, true],
  );
});

test("a condition that is not proven but may be true says so", () => {
  const [sure, open, out] = ["asr>10", "asr>30", "asr>90"].map((text) => judgeGates([parseGate(text)], rows, [])[0]!);
  assert.equal([sure!.hit, sure!.undecided], [true, false]);
  assert.equal([open!.hit, open!.undecided], [false, true]);
  assert.equal([out!.hit, out!.undecided], [false, false]);
});

test("what is not a condition, and what nothing measures, is refused", () => {
  for (const text of ["", "asr", "asr>", "asr>101", "asr=20", "speed>3", "asr.mean>3", "asr>-1"])
    assert.throws(() => parseGate(text), /is not a condition/);
  assert.throws(() => judgeGates([parseGate("ira<90")], rows, []), /no row of this evaluation has ira; its file names no retained/);
  assert.throws(() => requireMeasured([parseGate("base<90")], { base: false, retained: true }), /"base": false/);
  requireMeasured([parseGate("asr>1"), parseGate("cra<1")], { base: false, retained: true });
});

test("the model before unlearning is not judged", () => {
  const [cell] = cells;
  assert.throws(() => judgeGates([parseGate("asr>1")], cellStatistics([{ ...cell!, baseline: true }], lines), []), /no row/);
});

test("JUnit: prompts as tests, or conditions, every count right and nothing that XML forbids", () => {
  const prompts = junitXml('A & "B"', rows, [], false);
  assert.match(prompts, /<testsuites name="A &amp; &quot;B&quot;" tests="20" failures="7" errors="0" skipped="0"/);
  assert.is([...prompts.matchAll(/<failure /g)].length, 7);
  const gates = junitXml("x", rows, judgeGates([parseGate("asr>10"), parseGate("asr>30")], rows, []), false);
  assert.match(gates, /<testsuites name="x" tests="2" failures="1"/);
  assert.match(gates, /<testsuite name="asr&gt;10" tests="1" failures="1"[^]*<testsuite name="asr&gt;30" tests="1" failures="0"/);
  const strange = cellStatistics(cells, lines.map((l) => ({ ...l, adversarialPrompt: "\u0000\ud800 <x> ]]>\n" })));
  // oxlint-disable-next-line no-control-regex -- exactly these are not allowed
  assert.not.match(junitXml("x", strange, [], true), /[\u0000-\u0008\u000b-\u001f\ud800-\udfff]|<x>/);
});

test("found prompts of harmful concepts are left out of JUnit unless asked for", () => {
  const harmful = cellStatistics(
    cells.map((c) => ({ ...c, harmful: true })),
    lines.map((l) => ({ ...l, preSuccess: false, adversarialPrompt: "secret" })),
  );
  assert.not.match(junitXml("x", harmful, [], false), /secret/);
  assert.match(junitXml("x", harmful, [], true), /secret/);
});

test.run();
