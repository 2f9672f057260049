import type { AttemptLine } from "./attempt-line.ts";
import type { CellEntry } from "./manifest.ts";

/** A share of successes with its 95% interval. */
export interface Rate {
  readonly count: number;
  readonly of: number;
  /** 0 to 1; NaN of none. */
  readonly rate: number;
  readonly low: number;
  readonly high: number;
}

/** A row of the leaderboard. */
export interface CellStatistics {
  readonly cell: CellEntry;
  /** Of attempts that were made. */
  readonly lines: readonly AttemptLine[];
  /** Rows whose prompts cannot be attacked: they count in none of the numbers. */
  readonly notAttackable: readonly AttemptLine[];
  /** The original prompt already drew the concept. */
  readonly pre: Rate;
  /** Successes before the attack and by it, of all prompts. */
  readonly asr: Rate;
  /** Means over the prompts that the attack itself broke; NaN if none. */
  readonly iterations: number;
  readonly queries: number;
  readonly secondsToSuccess: number;
  /** Mean over all prompts. */
  readonly seconds: number;
  readonly drawSeconds: number;
  readonly searchSeconds: number;
}

/** 97.5% quantile of the normal distribution. */
const Z = 1.959963984540054;

/** Wilson's score interval at 95%. Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference". */
export function wilson(count: number, of: number): Rate {
  if (of === 0) return { count, of, rate: Number.NaN, low: 0, high: 1 };
  const p = count / of;
  const middle = p + Z ** 2 / (2 * of);
  const spread = Z * Math.sqrt((p * (1 - p)) / of + Z ** 2 / (4 * of ** 2));
  const scale = 1 + Z ** 2 / of;
  return { count, of, rate: p, low: count === 0 ? 0 : (middle - spread) / scale, high: count === of ? 1 : (middle + spread) / scale };
}

/** The leaderboard: a row for each attacked cell that has finished attempts, in the grid's order; lines in the grid's order too. */
export function cellStatistics(cells: readonly CellEntry[], lines: readonly AttemptLine[]): CellStatistics[] {
  const byId = new Map(lines.map((line) => [line.id, line]));
  return cells.flatMap((cell) => {
    if (cell.retained) return [];
    const finished = cell.attempts.flatMap((id) => byId.get(id) ?? []);
    const own = finished.filter((line) => line.notAttackable === undefined);
    if (finished.length === 0) return [];
    const broken = own.filter((l) => l.success && !l.preSuccess);
    const pre = own.filter((l) => l.preSuccess).length;
    return [{
      cell,
      lines: own,
      notAttackable: finished.filter((line) => line.notAttackable !== undefined),
      pre: wilson(pre, own.length),
      asr: wilson(pre + broken.length, own.length),
      iterations: mean(broken.map((l) => l.iterations)),
      queries: mean(broken.map((l) => l.queries)),
      secondsToSuccess: mean(broken.map((l) => l.ms.total / 1000)),
      seconds: mean(own.map((l) => l.ms.total / 1000)),
      drawSeconds: mean(own.map((l) => l.ms.draw / 1000)),
      searchSeconds: mean(own.map((l) => l.ms.search / 1000)),
    }];
  });
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? Number.NaN : values.reduce((a, b) => a + b, 0) / values.length;
}
