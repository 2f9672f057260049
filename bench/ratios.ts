import { type BenchResult, type BenchRow, rowMs } from "./results.ts";
import { geometricMean } from "./statistics.ts";

/** Our time against the best WebGPU peer's, for one op. */
export interface Ratio {
  readonly row: BenchRow;
  readonly best: BenchRow;
  /** The peer's time divided by ours, by the file's basis: above 1 where we are faster. */
  readonly ratio: number;
  /** The same by the clock. */
  readonly wallRatio: number;
  /** Time of each engine that has numbers for this op, and the right ones, divided by ours. */
  readonly all: Readonly<Record<string, number>>;
}

/** Peers that run on the same adapter; the others are not bars. */
export function webgpuPeers(result: BenchResult): ReadonlySet<string> {
  return new Set(result.peers.filter((p) => p.webgpu && p.absent === null).map((p) => p.name));
}

/**
 * The ratio of every row of ours that a WebGPU peer has numbers for. An engine's name up to " (" is the peer's: "ort-webgpu
 * (MultiHeadAttention)".
 */
export function ratiosToPeers(result: BenchResult): readonly Ratio[] {
  const webgpu = webgpuPeers(result);
  const ms = (row: BenchRow): number | undefined => rowMs(row, result.basis);
  const same = (a: BenchRow, b: BenchRow): boolean =>
    a.suite === b.suite && a.model === b.model && a.name === b.name && a.direction === b.direction;
  return result.rows
    .filter((r) => r.engine === "lethe" && ms(r) !== undefined)
    .flatMap((row) => {
      const others = result.rows.filter((r) => r.engine !== "lethe" && same(r, row) && ms(r) !== undefined);
      const bars = others.filter((r) => webgpu.has(peerName(r.engine)) && r.wrong === undefined);
      if (bars.length === 0) return [];
      const best = bars.reduce((a, b) => (ms(b)! < ms(a)! ? b : a));
      const ours = ms(row)!;
      return [
        {
          row,
          best,
          ratio: ms(best)! / ours,
          wallRatio: best.wall!.median / row.wall!.median,
          all: Object.fromEntries(others.filter((r) => r.wrong === undefined).map((r) => [r.engine, ms(r)! / ours])),
        },
      ];
    });
}

/** A peer's name in an engine's. */
export function peerName(engine: string): string {
  return engine.split(" (")[0]!;
}

export interface RatioSummary {
  readonly direction: BenchRow["direction"];
  readonly count: number;
  readonly geometricMean: number;
  readonly geometricMeanWall: number;
  /** Ops on which a peer is faster. */
  readonly slower: readonly string[];
}

/** Geometric means for each direction. */
export function summarizeRatios(ratios: readonly Ratio[]): readonly RatioSummary[] {
  return (["forward", "forward+gradient"] as const).flatMap((direction) => {
    const of = ratios.filter((r) => r.row.direction === direction);
    const [mean, wall] = [geometricMean(of.map((r) => r.ratio)), geometricMean(of.map((r) => r.wallRatio))];
    if (mean === undefined || wall === undefined) return [];
    return [
      {
        direction,
        count: of.length,
        geometricMean: mean,
        geometricMeanWall: wall,
        slower: of.filter((r) => r.ratio < 1).map((r) => r.row.name),
      },
    ];
  });
}
