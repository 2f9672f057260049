import { type BenchResult, type BenchRow, rowKey } from "./results.ts";
import { geometricMean, type Timing } from "./statistics.ts";

/** Moves below this are noise whatever the spreads say: clocks, frequencies and page colouring move as much between processes. */
const LEAST = 0.03;

export type Verdict = "faster" | "slower" | "same" | "only in A" | "only in B" | "broken" | "mended";

export interface Comparison {
  readonly key: string;
  readonly verdict: Verdict;
  /** Time in B divided by time in A, by the basis both files share; undefined where either has no numbers. */
  readonly ratio?: number;
  /** How far the ratio must be from 1 to count, as a fraction. */
  readonly noise?: number;
  readonly a?: BenchRow;
  readonly b?: BenchRow;
}

export interface ComparisonReport {
  readonly comparisons: readonly Comparison[];
  /** What makes the two files hard to compare. */
  readonly warnings: readonly string[];
  /** Geometric mean of the ratios of our own rows that both files have. */
  readonly meanRatio: number | undefined;
}

/**
 * What moved from A to B beyond noise. A row moved if the medians differ by more than both spreads together allow (the root of the sum of
 * squares of the two relative interquartile ranges, at least 3%), and the fastest samples differ in the same direction by at least half as
 * much: a busy moment shifts medians, hardly minima.
 */
export function compareResults(a: BenchResult, b: BenchResult): ComparisonReport {
  const kind = a.basis.kind === b.basis.kind ? a.basis.kind : "wall";
  const rowsOf = (r: BenchResult): Map<string, BenchRow> => new Map(r.rows.map((row) => [rowKey(row), row]));
  const [before, after] = [rowsOf(a), rowsOf(b)];
  const comparisons: Comparison[] = [...new Set([...before.keys(), ...after.keys()])].map((key) =>
    compareRows(key, before.get(key), after.get(key), kind),
  );
  return {
    comparisons,
    warnings: warningsOf(a, b),
    meanRatio: geometricMean(comparisons.flatMap((c) => (c.ratio !== undefined && c.b?.engine === "lethe" ? [c.ratio] : []))),
  };
}

function compareRows(key: string, a: BenchRow | undefined, b: BenchRow | undefined, kind: "wall" | "cpu"): Comparison {
  const sides = { ...(a && { a }), ...(b && { b }) };
  if (!a || !b) return { key, verdict: a ? "only in A" : "only in B", ...sides };
  const [x, y] = [a[kind], b[kind]];
  if (!x || !y) return { key, verdict: x ? "broken" : y ? "mended" : "same", ...sides };
  const ratio = y.median / x.median;
  const noise = noiseOf(x, y);
  const least = y.min / x.min;
  const slower = ratio > 1 + noise && least > 1 + noise / 2;
  const faster = ratio < 1 / (1 + noise) && least < 1 / (1 + noise / 2);
  return { key, verdict: slower ? "slower" : faster ? "faster" : "same", ratio, noise, ...sides };
}

/** How much two timings may differ by chance, as a fraction. */
export function noiseOf(a: Timing, b: Timing): number {
  return Math.max(LEAST, Math.hypot(a.spread, b.spread));
}

function warningsOf(a: BenchResult, b: BenchResult): string[] {
  const facts = (r: BenchResult): Readonly<Record<string, unknown>> => ({
    adapter: r.stamp.adapter.description,
    driver: r.stamp.adapter.driver,
    machine: `${r.stamp.machine.cpu}, ${r.stamp.machine.cores} cores`,
    "webgpu package": r.stamp.versions.webgpu,
    node: r.stamp.versions.node,
    "kind of time": r.basis.kind,
    "weights": r.stamp.options["weights"],
    "math": r.stamp.options["math"],
    "kernels": r.stamp.options["kernels"] ?? "not recorded",
  });
  const [before, after] = [facts(a), facts(b)];
  const warnings = Object.keys(before).flatMap((name) =>
    before[name] === after[name] ? [] : [`${name} differs: ${String(before[name])} in A, ${String(after[name])} in B`],
  );
  const change = b.peak.gflops / a.peak.gflops;
  if (change > 1.2 || change < 1 / 1.2) {
    warnings.push(`the adapter's measured multiply-add peak differs by a factor of ${change.toFixed(2)}: another machine, or a busy one`);
  }
  return warnings;
}
