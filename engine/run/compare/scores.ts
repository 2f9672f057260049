/** Scores of pictures of two evaluations, side by side. */
import { type QualityScores, kernelName, scoreText } from "../leaderboard/quality.ts";

/** A number with its 95% interval, where there is one. */
interface Score {
  readonly value: number;
  readonly interval: readonly [number, number] | null;
}

/** One score of a checkpoint on both sides. */
export interface ScorePair {
  /** The checkpoint, "a | b" where the sides' names differ. */
  readonly name: string;
  /** "FID", "Frechet distance", "KID", "kernel distance" or "CLIP score". */
  readonly score: string;
  readonly first: Score;
  readonly second: Score;
  /** Second less first. */
  readonly difference: number;
}

/** By checkpoint. */
type Scores = ReadonlyMap<string, QualityScores>;

export interface ScoreComparison {
  readonly scores: readonly ScorePair[];
  /** Why some are not compared, in sentences. */
  readonly cautions: readonly string[];
}

/**
 * Pairs the scores of checkpoints of the same name, or of the only one of each side besides the model before unlearning. Distances of other
 * features, or of another number of pictures, are never put beside each other.
 */
export function compareScores(first: Scores, second: Scores): ScoreComparison {
  const cautions: string[] = [];
  const scores = pairsOf(first, second).flatMap(([a, b]): ScorePair[] => {
    const name = a.checkpoint === b.checkpoint ? a.checkpoint : `${a.checkpoint} | ${b.checkpoint}`;
    const row = (
      score: string,
      of: (s: QualityScores) => number | null,
      interval: (s: QualityScores) => QualityScores["frechetInterval"],
    ): ScorePair[] => {
      const [x, y] = [of(a), of(b)];
      if (x === null || y === null) return [];
      return [{ name, score, first: { value: x, interval: interval(a) }, second: { value: y, interval: interval(b) }, difference: y - x }];
    };
    const same = a.features === b.features && a.count === b.count && a.comparedWith === b.comparedWith;
    const measured = [a, b].every((s) => s.frechet !== null);
    if (measured && !same) cautions.push(`The distances of ${name} are not comparable: ${described(a)}, and ${described(b)}.`);
    return [
      ...(same ? row(a.distanceName, (s) => s.frechet, (s) => s.frechetInterval) : []),
      ...(same ? row(kernelName(a.distanceName), (s) => s.kid, () => null) : []),
      ...row("CLIP score", (s) => s.clipScore, (s) => s.clipInterval),
    ];
  });
  return { scores, cautions };
}

function pairsOf(first: Scores, second: Scores): [QualityScores, QualityScores][] {
  const same = [...first.values()].flatMap((a): [QualityScores, QualityScores][] => {
    const b = second.get(a.checkpoint);
    return b ? [[a, b]] : [];
  });
  const unlearned = (scores: Scores): QualityScores[] => [...scores.values()].filter((s) => !s.baseline);
  const [left, right] = [unlearned(first), unlearned(second)];
  const [a, b] = [left[0], right[0]];
  return left.length === 1 && right.length === 1 && a!.checkpoint !== b!.checkpoint ? [[a!, b!], ...same] : same;
}

function described({ features, count, comparedWith }: QualityScores): string {
  return `${features} of ${count} pictures against ${comparedWith ?? "nothing"}`;
}

/** A table of it: names, scores and differences. */
export const SCORES_HEADER = ["checkpoint", "score", "first", "second", "difference"] as const;

/** A pair as a row under SCORES_HEADER. */
export function scoreCells({ name, score, first, second, difference }: ScorePair): string[] {
  const text = ({ value, interval }: Score): string => scoreText(value, interval);
  return [name, score, text(first), text(second), `${difference > 0 ? "+" : ""}${scoreText(difference)}`];
}
