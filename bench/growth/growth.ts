import { type BenchResult, type BenchRow, type Growth } from "../results.ts";

/** How cost grows with what is asked for, beside what the arithmetic says. */

/** A quantity may grow by this much more than its arithmetic before its row is flagged. */
export const TOLERATED_GROWTH = 1.25;

/** How a quantity grew from a smaller row of its curve to this one. */
export interface GrowthStep {
  /**
   * Where the smaller row stands: of all smaller ones the one that makes the ratio largest, so that nothing hides behind a slow small size.
   */
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
    return sorted.map((row, i) => ({
      row,
      growth: row.growth,
      ms: leastRowMs(row, result.basis),
      time: worstStep(sorted.slice(0, i), row, (r) => leastRowMs(r, result.basis), workGrowth),
      memory: worstStep(sorted.slice(0, i), row, (r) => r.growth.bytes, (a, b) => b.growth.arithmeticBytes / a.growth.arithmeticBytes),
    }));
  });
}

type GrowthRow = BenchRow & { readonly growth: Growth };

/**
 * Growth of the kernels' own counts: of operations or of bytes, whichever grew more. Not of the roofline's time, which takes every operand
 * from memory, while those of a small case stay in a cache.
 */
export function workGrowth(a: BenchRow, b: BenchRow): number {
  return Math.max(b.flops / a.flops, b.bytes / a.bytes);
}

/** Growth to `row` since the one of the smaller rows that makes it look worst; undefined without numbers. */
function worstStep(
  smaller: readonly GrowthRow[],
  row: GrowthRow,
  quantity: (row: GrowthRow) => number | undefined,
  arithmetic: (a: GrowthRow, b: GrowthRow) => number,
): GrowthStep | undefined {
  const last = quantity(row);
  const steps = smaller.flatMap((base) => {
    const first = quantity(base);
    if (first === undefined || last === undefined || !(first > 0)) return [];
    const [grew, expected] = [last / first, arithmetic(base, row)];
    return [{ since: base.growth.at, grew, arithmetic: expected, ratio: grew / expected, flagged: grew / expected > TOLERATED_GROWTH }];
  });
  return steps.length === 0 ? undefined : steps.reduce((a, b) => (b.ratio > a.ratio ? b : a));
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
