import type { Difference } from "../../metrics/paired.ts";
import { percent } from "../leaderboard/columns.ts";
import type { Comparison, PairedRow } from "./pairs.ts";

/** A difference in percentage points: "-25.0 [-50.0, 0.0]". */
export function points({ value, low, high }: Difference): string {
  const signed = (x: number): string => `${x > 0 ? "+" : ""}${(100 * x).toFixed(1)}`;
  return `${signed(value)} [${signed(low)}, ${signed(high)}]`;
}

/** "0.0215", or "<0.0001". */
export function probability(p: number): string {
  return p < 0.0001 ? "<0.0001" : p.toFixed(4);
}

/** The sentence above a comparison: what changed, by how much, how surely. */
export function headline({ first, second, rows, all }: Comparison): string {
  const n = all.first.of;
  const { onlyFirst, onlySecond } = all.counts;
  const change = `${second.title} was broken on ${all.second.count} of ${n} prompts, ${first.title} on ${all.first.count}`;
  const moved = `${onlyFirst} only in the first, ${onlySecond} only in the second`;
  if (onlyFirst + onlySecond === 0) return `${change}: no prompt changed.`;
  const { low, high } = all.difference;
  const sure = low > 0 || high < 0 ? "Its interval leaves out zero." : "It may be chance: its interval includes zero.";
  const tested = rows.length === 1 ? ` McNemar's exact test: p = ${probability(rows[0]!.p)}.` : "";
  return `${change} (${moved}): ${points(all.difference)} percentage points. ${sure}${tested}`;
}

/** The comparison's table: names, counts, rates, difference and test. */
export const COMPARISON_HEADER = ["row", "N", "first", "second", "difference", "only first", "only second", "p"] as const;

/** A row of it. */
export function comparisonCells({ name, pairs, first, second, difference, counts, p }: PairedRow): string[] {
  return [
    name,
    String(pairs.length),
    percent(first),
    percent(second),
    points(difference),
    String(counts.onlyFirst),
    String(counts.onlySecond),
    probability(p),
  ];
}

/** What the columns mean. */
export const COMPARISON_NOTE =
  "First and second: attack success rates with Wilson 95% intervals. Difference: percentage points, second less first, with a bootstrap " +
  "95% interval over prompts. Only first, only second: prompts broken on one side alone. p: McNemar's exact test on these, two-sided; it " +
  "is not corrected for the number of rows. A bootstrap over few prompts, or over prompts that all changed alike, is too narrow: " +
  "then read p.";
