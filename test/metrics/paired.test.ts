import { test } from "uvu";
import * as assert from "uvu/assert";
import { wilson } from "../../engine/metrics/intervals.ts";
import { bootstrapDifference, countPairs, mcnemarExact } from "../../engine/metrics/paired.ts";

/** The two-sided binomial test in whole numbers: twice the smaller tail of 2^changed equally likely outcomes. */
function binomial(onlyFirst: number, onlySecond: number): number {
  const changed = onlyFirst + onlySecond;
  let [term, tail] = [1n, 0n];
  for (let k = 0; k <= Math.min(onlyFirst, onlySecond); k++) {
    tail += term;
    term = (term * BigInt(changed - k)) / BigInt(k + 1);
  }
  return Math.min(1, Number((2n * tail * 10n ** 15n) / 2n ** BigInt(changed)) / 1e15);
}

test("McNemar's exact test is the binomial one, in whole numbers", () => {
  for (const [a, b] of [[0, 0], [1, 0], [0, 5], [1, 9], [3, 3], [2, 10], [40, 25], [700, 800]] as const) {
    const [p, expected] = [mcnemarExact({ onlyFirst: a, onlySecond: b }), binomial(a, b)];
    assert.ok(Math.abs(p - expected) < 1e-9, `${a}, ${b}: ${p}, expected ${expected}`);
    assert.is(mcnemarExact({ onlyFirst: b, onlySecond: a }), p);
  }
  // 1 - binom.cdf and the like of textbooks: 10 changed pairs, 1 against 9
  assert.ok(Math.abs(mcnemarExact({ onlyFirst: 1, onlySecond: 9 }) - 22 / 1024) < 1e-12);
});

test("pairs are counted by what each side was", () => {
  const pairs = [[true, true], [true, false], [true, false], [false, true], [false, false]] as const;
  assert.equal(countPairs(pairs), { both: 1, onlyFirst: 2, onlySecond: 1, neither: 1 });
});

/** Quantiles of the mean over every possible resample of a few values. */
function everyResample(values: readonly number[]): { readonly low: number; readonly high: number } {
  let sums = [0];
  for (const _ of values) sums = sums.flatMap((s) => values.map((v) => s + v));
  const means = sums.map((s) => s / values.length).toSorted((a, b) => a - b);
  return { low: means[Math.floor(0.025 * (means.length - 1))]!, high: means[Math.ceil(0.975 * (means.length - 1))]! };
}

test("the bootstrap's interval is that of all resamples", () => {
  const pairs = [[false, true], [false, true], [true, true], [false, false], [true, false], [false, true]] as const;
  const exact = everyResample(pairs.map(([a, b]) => Number(b) - Number(a)));
  for (const seed of [0, 1, 2]) {
    const { value, low, high } = bootstrapDifference(pairs.map((pair) => [pair]), seed);
    assert.is(value, 2 / 6);
    assert.ok(
      Math.abs(low - exact.low) < 1e-9 && Math.abs(high - exact.high) < 1e-9,
      `${low} ${high}, expected ${exact.low} ${exact.high}`,
    );
  }
  assert.equal(bootstrapDifference(pairs.map((pair) => [pair]), 5), bootstrapDifference(pairs.map((pair) => [pair]), 5));
});

test("clusters are drawn whole, so that what belongs together says no more than once", () => {
  const cluster = (first: boolean, second: boolean): [boolean, boolean][] => Array.from({ length: 50 }, () => [first, second]);
  const few = bootstrapDifference([cluster(false, true), cluster(true, true), cluster(false, false), cluster(true, false)]);
  const many = bootstrapDifference(
    [...cluster(false, true), ...cluster(true, true), ...cluster(false, false), ...cluster(true, false)].map((p) => [p]),
  );
  assert.is(few.value, 0);
  assert.ok(few.high - few.low > 4 * (many.high - many.low), `${few.low} ${few.high}, ${many.low} ${many.high}`);
  assert.equal(bootstrapDifference([]), { value: Number.NaN, low: -1, high: 1 });
});

test("Wilson's interval", () => {
  // Agresti and Coull 1998: 0 of 10 has 0 to z^2 / (10 + z^2)
  const z2 = 1.959963984540054 ** 2;
  assert.ok(Math.abs(wilson(0, 10).high - z2 / (10 + z2)) < 1e-12);
  const { low, high } = wilson(7, 20);
  for (const bound of [low, high]) assert.ok(Math.abs(Math.abs(0.35 - bound) - Math.sqrt(z2 * bound * (1 - bound) / 20)) < 1e-9);
});

test.run();
