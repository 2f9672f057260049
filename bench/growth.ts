import { type BenchResult, type BenchRow, type Growth } from "./results.ts";

/** How cost grows with what is asked for, beside what the arithmetic says. */

/** A quantity may grow by this much more than its arithmetic before its row is flagged. */
export const TOLERATED_GROWTH = 1.25;

/** How a quantity grew from a smaller row of its curve to this one. */
export interface GrowthStep {
  /** Where the smaller row stands: the one that had the least of the quantity for its arithmetic, so that nothing hides behind a slow small size. */
  readonly since: number;
  readonly grew: number;
  readonly arithmetic: number;
  /** grew / arithmetic. */
  readonly ratio: number;
  readonly flagged: boolean;
}

export interface GrowthLine {
  readonly row: BenchRow;
  readonly growth: Growth;
  /** Milliseconds of the fastest sample by the file's basis; undefined for an estimate. */
  readonly ms: number | undefined;
  /** Undefined for the first row of a curve, and where there is no time. */
  readonly time: GrowthStep | undefined;
  readonly memory: GrowthStep | undefined;
}

/** The rows that belong to a curve, curve by curve, each from small to large. */
export function growthCurves(result: BenchResult): readonly (readonly GrowthLine[])[] {
  const curves = new Map<string, (BenchRow & { readonly growth: Growth })[]>();
  for (const row of result.rows) {
    if (!row.growth || row.error !== undefined) continue;
    const key = [row.model, row.growth.curve, row.growth.by, row.growth.estimated].join(" | ");
    curves.set(key, [...(curves.get(key) ?? []), { ...row, growth: row.growth }]);
  }
  return [...curves.values()].map((rows) => {
    const sorted = rows.toSorted((a, b) => a.growth.at - b.growth.at);
    const msOf = (row: BenchRow): number | undefined => leastRowMs(row, result.basis);
    return sorted.map((row, i) => ({
      row,
      growth: row.growth,
      ms: msOf(row),
      time: step(sorted.slice(0, i + 1), msOf, (g) => g.arithmeticMs),
      memory: step(sorted.slice(0, i + 1), (r) => r.growth!.bytes, (g) => g.arithmeticBytes),
    }));
  });
}

/** Growth of the last of these rows since the cheapest, by its arithmetic, of those before it. */
function step(rows: readonly (BenchRow & { readonly growth: Growth })[], quantity: (row: BenchRow) => number | undefined, arithmetic: (growth: Growth) => number | undefined): GrowthStep | undefined {
  const points = rows.flatMap((row) => {
    const [q, a] = [quantity(row), arithmetic(row.growth)];
    return q !== undefined && a !== undefined && q > 0 && a > 0 ? [{ at: row.growth.at, q, a }] : [];
  });
  const last = points.at(-1);
  if (points.length < 2 || !last || points.length < rows.length) return undefined;
  const base = points.slice(0, -1).reduce((x, y) => (y.q / y.a < x.q / x.a ? y : x));
  const [grew, expected] = [last.q / base.q, last.a / base.a];
  return { since: base.at, grew, arithmetic: expected, ratio: grew / expected, flagged: grew / expected > TOLERATED_GROWTH };
}

/** The fastest sample of a row by its file's basis: a busy moment makes a median slower, hardly a minimum. */
function leastRowMs(row: BenchRow, basis: BenchResult["basis"]): number | undefined {
  if (!row.wall || !row.cpu) return undefined;
  return basis.kind === "wall" ? row.wall.min : row.cpu.min / (basis.cores ?? 1);
}

/** The lines with a quantity that grew beyond its arithmetic. */
export function flaggedLines(curves: readonly (readonly GrowthLine[])[]): readonly GrowthLine[] {
  return curves.flat().filter((l) => l.time?.flagged === true || l.memory?.flagged === true);
}
