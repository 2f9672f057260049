import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Verdict, compareResults, noiseOf } from "../../bench/compare.ts";
import { comparisonText } from "../../bench/table.ts";
import { parseResult, resultProblem } from "../../bench/results.ts";
import { summarize } from "../../bench/statistics.ts";
import { failedRow, result, row } from "./synthetic-result.ts";

const QUIET = [10, 10.1, 9.9, 10, 10.05];
const NOISY = [10, 14, 9, 12, 8];
const times = (samples: readonly number[], factor: number): number[] => samples.map((x) => x * factor);

function verdict(a: readonly number[], b: readonly number[]): Verdict {
  return compareResults(result([row("x", a)]), result([row("x", b)])).comparisons[0]!.verdict;
}

test("a quiet measurement's move of 10% counts, one of 2% does not", () => {
  assert.is(verdict(QUIET, times(QUIET, 1.1)), "slower");
  assert.is(verdict(QUIET, times(QUIET, 1 / 1.1)), "faster");
  assert.is(verdict(QUIET, times(QUIET, 1.02)), "same");
  assert.is(verdict(QUIET, QUIET), "same");
});

test("a noisy measurement must move further", () => {
  assert.is(verdict(NOISY, times(NOISY, 1.2)), "same");
  assert.is(verdict(NOISY, times(NOISY, 2)), "slower");
  assert.is(verdict(NOISY, times(NOISY, 0.4)), "faster");
});

test("a busy moment that moves the median but not the minimum is not a verdict", () => {
  assert.is(verdict(QUIET, [10, 13, 13.1, 13.05, 12.95]), "same");
});

test("noise is the root of the sum of squares of the spreads, at least 3%", () => {
  const wide = summarize([8, 10, 12, 10, 9]); // quartiles 9 and 10
  assert.ok(Math.abs(noiseOf(wide, wide) - Math.hypot(0.1, 0.1)) < 1e-12);
  assert.is(noiseOf(summarize([1, 1, 1]), summarize([1, 1, 1])), 0.03);
});

test("rows that come, go, break and mend are told apart", () => {
  const a = result([row("gone", QUIET), row("breaks", QUIET), failedRow("mends", "no"), failedRow("stays broken", "no")]);
  const b = result([row("new", QUIET), failedRow("breaks", "no"), row("mends", QUIET), failedRow("stays broken", "no")]);
  const found = Object.fromEntries(compareResults(a, b).comparisons.map((c) => [c.key.split(" | ")[2], c.verdict]));
  assert.equal(found, { gone: "only in A", breaks: "broken", mends: "mended", "stays broken": "same", new: "only in B" });
});

test("the same name forward and with gradient, or of another engine, is another row", () => {
  const rows = [row("x", QUIET), row("x", QUIET, { direction: "forward+gradient" }), row("x", QUIET, { engine: "tfjs" })];
  assert.is(compareResults(result(rows), result(rows)).comparisons.length, 3);
});

test("the mean is of our rows only", () => {
  const a = result([row("x", QUIET), row("y", QUIET), row("x", QUIET, { engine: "tfjs" })]);
  const b = result([row("x", times(QUIET, 2)), row("y", times(QUIET, 0.5)), row("x", times(QUIET, 9), { engine: "tfjs" })]);
  assert.ok(Math.abs(compareResults(a, b).meanRatio! - 1) < 1e-9);
});

test("another adapter, another kind of time and another peak are warned of", () => {
  const a = result([row("x", QUIET)]);
  const b = result([row("x", QUIET)], {
    basis: { kind: "wall" },
    peak: { gflops: 300, gbps: 10 },
    stamp: { ...a.stamp, adapter: { ...a.stamp.adapter, description: "other" } },
  });
  const { warnings } = compareResults(a, b);
  assert.is(warnings.length, 3);
  assert.match(warnings.join("\n"), /adapter differs: .* in A, other in B/);
  assert.match(warnings.join("\n"), /factor of 3\.00/);
  assert.equal(compareResults(a, a).warnings, []);
});

test("the text names what moved, worst first", () => {
  const a = result([row("x", QUIET), row("y", QUIET), row("z", QUIET)]);
  const b = result([row("x", times(QUIET, 0.5)), row("y", times(QUIET, 2)), row("z", QUIET)]);
  const text = comparisonText(compareResults(a, b));
  assert.ok(text.indexOf("slower") < text.indexOf("faster"));
  assert.match(text, /1 of 3 rows did not move/);
});

test("a result file is checked when it is read", () => {
  const good = result([row("x", QUIET), failedRow("y", "no")]);
  assert.is(resultProblem(good), undefined);
  assert.equal(parseResult("f.json", JSON.stringify(good)), good);
  const refused: readonly [unknown, RegExp][] = [
    [{ ...good, format: "other" }, /format/],
    [{ ...good, version: 2 }, /version 2/],
    [{ ...good, basis: { kind: "cpu" } }, /basis/],
    [{ ...good, peak: { gflops: 0, gbps: 1 } }, /peak/],
    [{ ...good, rows: [{ ...good.rows[0], wall: undefined }] }, /row 0 \(x\): "wall"/],
    [{ ...good, rows: [good.rows[0], good.rows[0]] }, /row 1 repeats ops \| emoji \| x/],
    [{ ...good, stamp: { ...good.stamp, date: "yesterday" } }, /date/],
  ];
  for (const [json, pattern] of refused) assert.throws(() => parseResult("f.json", JSON.stringify(json)), pattern);
  assert.throws(() => parseResult("f.json", "{"), /f\.json: no JSON/);
});

test.run();
