/** `--fail-if "asr>20"`: conditions on the rows of an evaluation, by which a release is stopped. */
import type { Rate } from "../../metrics/intervals.ts";
import { UsageError } from "../../runtime/errors.ts";
import { type QualityScores, scoreText } from "../leaderboard/quality.ts";
import type { CellStatistics } from "../leaderboard/statistics.ts";
import type { SideEffects } from "../leaderboard/side-effects.ts";

/** What a condition may name: rates, and scores of pictures. */
export const GATE_METRICS = ["asr", "pre-asr", "base", "ua", "ira", "cra", "fid", "frechet-distance", "kid", "clip"] as const;
export type GateMetric = (typeof GATE_METRICS)[number];

/** Which number of a rate is compared. */
const BOUNDS = ["low", "rate", "high"] as const;
type Bound = (typeof BOUNDS)[number];

export interface Gate {
  /** As it was given. */
  readonly text: string;
  readonly metric: GateMetric;
  readonly bound: Bound;
  readonly above: boolean;
  /** The limit itself is a hit too. */
  readonly orEqual: boolean;
  /** Per cent of a rate; a score as it is. */
  readonly limit: number;
}

/** What became of one condition on one row. */
export interface GateResult {
  readonly gate: string;
  readonly metric: GateMetric;
  /** CHECKPOINT/ATTACKER/CONCEPT, CHECKPOINT/CONCEPT for side effects, or CHECKPOINT for scores of pictures. */
  readonly row: string;
  /** The rate, per cent, or the score, and its 95% interval; without an interval three times the score. */
  readonly rate: number;
  readonly low: number;
  readonly high: number;
  /** The condition holds: exit 4. */
  readonly hit: boolean;
  /** It does not hold surely, but the rest of the interval reaches beyond the limit: more prompts would decide. */
  readonly undecided: boolean;
}

const FORM = /^\s*([a-z-]+)(?:\.(low|rate|high))?\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?|\.\d+)\s*%?\s*$/i;

/**
 * "asr>20" as a condition. Limits of rates are per cent. It holds where the whole 95% interval is beyond the limit: of `>` the lower
 * bound is compared, of `<` the upper one. `asr.high>20` and `asr.rate>20` compare another number.
 * @throws UsageError saying what is expected
 */
export function parseGate(text: string): Gate {
  const [, name = "", bound, operator = "", number = ""] = FORM.exec(text) ?? [];
  const metric = GATE_METRICS.find((m) => m === name.toLowerCase());
  const limit = Number(number);
  if (metric === undefined || !(limit >= 0 && (isScore(metric) || limit <= 100))) {
    throw new UsageError(
      `--fail-if: ${JSON.stringify(text)} is not a condition. Write METRIC, one of > >= < <=, and a per cent from 0 to 100, or the value ` +
        `of a score: "asr>20", "asr.high>20", "fid>25", "clip<0.29". Metrics: ${GATE_METRICS.join(", ")}`,
    );
  }
  const above = operator.startsWith(">");
  return {
    text: text.trim(),
    metric,
    bound: (bound?.toLowerCase() as Bound | undefined) ?? (above ? "low" : "high"),
    above,
    orEqual: operator.endsWith("="),
    limit,
  };
}

/**
 * Finds out before an evaluation begins whether its conditions can be answered at its end.
 * @throws UsageError for a condition on what is not measured
 */
export function requireMeasured(
  gates: readonly Gate[],
  measured: { readonly base: boolean; readonly retained: boolean; readonly scores?: readonly ScoreMetric[] },
): void {
  for (const { text, metric } of gates) {
    const known = metric === "base"
      ? measured.base
      : isEffect(metric) ? measured.retained : isScore(metric) ? (measured.scores ?? []).includes(metric) : true;
    if (!known) throw unanswerable(text, metric);
  }
}

/** Scores of pictures, by which checkpoints are judged. */
const SCORES = {
  fid: (s: QualityScores) => (s.distanceName === "FID" ? [s.frechet, s.frechetInterval] : [null, null]),
  "frechet-distance": (s: QualityScores) => (s.distanceName === "FID" ? [null, null] : [s.frechet, s.frechetInterval]),
  kid: (s: QualityScores) => [s.kid, null],
  clip: (s: QualityScores) => [s.clipScore, s.clipInterval],
} as const satisfies Readonly<Record<string, (s: QualityScores) => readonly [number | null, readonly [number, number] | null]>>;
export type ScoreMetric = keyof typeof SCORES;

function isScore(metric: GateMetric): metric is ScoreMetric {
  return Object.hasOwn(SCORES, metric);
}

function isEffect(metric: GateMetric): metric is "ua" | "ira" | "cra" {
  return metric === "ua" || metric === "ira" || metric === "cra";
}

function unanswerable(text: string, metric: GateMetric): UsageError {
  const why = metric === "base" ? '; its file says "base": false' : isEffect(metric)
    ? "; its file names no retained concepts"
    : isScore(metric) ? "; its file's quality does not measure it" : "";
  return new UsageError(`--fail-if ${JSON.stringify(text)}: no row of this evaluation has ${metric}${why}`);
}

/**
 * Every condition on every row that has the rate. Rows of the model before unlearning are not judged: it was not made to forget.
 * @throws UsageError for a condition that no row can answer, which would pass unseen
 */
export function judgeGates(gates: readonly Gate[], rows: readonly CellStatistics[], effects: readonly SideEffects[]): GateResult[] {
  return gates.flatMap((gate) => {
    const { metric } = gate;
    const found = isScore(metric) ? scoresOf(metric, rows) : ratesOf(metric, rows, effects).filter(([, rate]) => rate.of > 0);
    if (found.length === 0) throw unanswerable(gate.text, gate.metric);
    return found.map(([row, rate]) => judged(gate, row, rate));
  });
}

/** A number with its interval. */
type Judged = Pick<Rate, "rate" | "low" | "high">;

/** Of each checkpoint once. */
function scoresOf(metric: ScoreMetric, rows: readonly CellStatistics[]): [row: string, score: Judged][] {
  const all = new Map(rows.flatMap(({ cell, quality }) => (quality && !cell.baseline ? [[cell.checkpoint, quality] as const] : [])));
  return [...all].flatMap(([checkpoint, quality]): [string, Judged][] => {
    const [rate, interval] = SCORES[metric](quality);
    return rate === null ? [] : [[checkpoint, { rate, low: interval?.[0] ?? rate, high: interval?.[1] ?? rate }]];
  });
}

function ratesOf(
  metric: Exclude<GateMetric, ScoreMetric>,
  rows: readonly CellStatistics[],
  effects: readonly SideEffects[],
): [row: string, rate: Rate][] {
  if (isEffect(metric)) {
    const baselines = new Set(rows.filter((r) => r.cell.baseline).map((r) => r.cell.checkpoint));
    return effects.filter((e) => !baselines.has(e.checkpoint)).map((e) => [`${e.checkpoint}/${e.concept}`, e[metric]]);
  }
  return rows
    .filter((r) => !r.cell.baseline)
    .map((r) => [r.cell.id, metric === "asr" ? r.asr : metric === "pre-asr" ? r.pre : r.base]);
}

function judged({ text, metric, bound, above, orEqual, limit }: Gate, row: string, rate: Judged): GateResult {
  const scale = isScore(metric) ? 1 : 100;
  const beyond = (share: number): boolean => {
    const value = scale * share;
    // 20/100 is 20 per cent, whatever floating point makes of it
    if (Math.abs(value - limit) < 1e-9) return orEqual;
    return above ? value > limit : value < limit;
  };
  const hit = beyond(rate[bound]);
  return {
    gate: text,
    row,
    metric,
    rate: scale * rate.rate,
    low: scale * rate.low,
    high: scale * rate.high,
    hit,
    undecided: !hit && beyond(above ? rate.high : rate.low),
  };
}

/** One line for people: "asr>20 on a/b/c: hit, 58.3% [32.0, 80.7]". */
export function gateLine({ gate, metric, row, rate, low, high, hit, undecided }: GateResult): string {
  const verdict = hit ? "hit" : undecided ? "not proven; the interval reaches beyond the limit, so more prompts would decide" : "not hit";
  const number = isScore(metric)
    ? scoreText(rate, low < high ? [low, high] : null)
    : `${rate.toFixed(1)}% [${low.toFixed(1)}, ${high.toFixed(1)}]`;
  return `${gate} on ${row}: ${verdict} (${number})`;
}
