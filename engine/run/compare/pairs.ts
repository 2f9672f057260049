/** Two evaluations or runs, paired prompt by prompt. */
import { type Rate, wilson } from "../../metrics/intervals.ts";
import { type Difference, type PairedCounts, bootstrapDifference, countPairs, mcnemarExact } from "../../metrics/paired.ts";
import { UsageError } from "../../runtime/errors.ts";
import type { AttemptLine } from "../leaderboard/attempt-line.ts";
import type { QualityScores } from "../leaderboard/quality.ts";
import { type ScorePair, compareScores } from "./scores.ts";

/** One attacked prompt of a side. Its `image` is its last picture's path below the side's folder; empty if there is none. */
export interface Outcome extends Pick<
  AttemptLine,
  | "checkpoint" | "attacker" | "concept" | "case" | "prompt" | "seed" | "preSuccess" | "success" | "label" | "score" | "iterations"
  | "queries" | "adversarialPrompt" | "image"
> {
  readonly harmful: boolean;
  /** What its judge calls a success. */
  readonly rule: string;
}

/** What one folder holds. */
export interface Side {
  /** The folder as it was named. */
  readonly name: string;
  readonly title: string;
  readonly outcomes: readonly Outcome[];
  /** Scores of pictures by checkpoint, where they were measured. */
  readonly scores?: ReadonlyMap<string, QualityScores>;
}

export interface Pair {
  readonly first: Outcome;
  readonly second: Outcome;
}

/** The pairs of one row: a checkpoint (or two), an attacker and a concept. */
export interface PairedRow {
  readonly name: string;
  readonly pairs: readonly Pair[];
  readonly counts: PairedCounts;
  readonly first: Rate;
  readonly second: Rate;
  /** Second less first, with the interval of a bootstrap over prompts. */
  readonly difference: Difference;
  /** McNemar's exact test, two-sided. */
  readonly p: number;
}

export interface Comparison {
  readonly first: Side;
  readonly second: Side;
  /** Those that changed most surely first, those without a change last. */
  readonly rows: readonly PairedRow[];
  /**
   * Over all rows; prompts are drawn again with all their rows, since these are not independent. No test: McNemar's needs independent
   * pairs.
   */
  readonly all: Pick<PairedRow, "counts" | "first" | "second" | "difference">;
  /** Outcomes that the other side has no counterpart of. */
  readonly unpaired: { readonly first: readonly Outcome[]; readonly second: readonly Outcome[] };
  /** Scores of pictures, where both sides have them. */
  readonly scores: readonly ScorePair[];
  /** What makes the two hard to compare, in sentences; empty if nothing does. */
  readonly cautions: readonly string[];
}

type Field = "checkpoint" | "attacker" | "concept" | "case";
const FIELDS: readonly Field[] = ["checkpoint", "attacker", "concept", "case"];

/**
 * Pairs two sides. A prompt meets the one of the same checkpoint, attacker, concept and case; a name that differs is overlooked where each
 * side has one only (two checkpoints under the same attackers, or one checkpoint under two).
 * @throws UsageError where nothing pairs, naming what each side has
 */
export function compare(first: Side, second: Side, seed = 0): Comparison {
  const fields = FIELDS.filter((field) => !differsOnly(field, first, second));
  const keyOf = (outcome: Outcome): string => JSON.stringify(fields.map((field) => outcome[field]));
  const others = new Map(second.outcomes.map((outcome) => [keyOf(outcome), outcome]));
  const pairs = first.outcomes.flatMap((one): Pair[] => {
    const other = others.get(keyOf(one));
    return other ? [{ first: one, second: other }] : [];
  });
  if (pairs.length === 0) throw new UsageError(nothingPairs(first, second));
  const [used, met] = [new Set(pairs.map((p) => p.first)), new Set(pairs.map((p) => p.second))];
  const rows = new Map<string, Pair[]>();
  for (const pair of pairs) {
    const name = rowName(pair);
    rows.set(name, [...(rows.get(name) ?? []), pair]);
  }
  const scored = compareScores(first.scores ?? new Map(), second.scores ?? new Map());
  return {
    first,
    second,
    rows: [...rows]
      .map(([name, own]) => {
        const counts = countPairs(own.map(outcomes));
        return { name, pairs: own, counts, ...rates(own, seed), p: mcnemarExact(counts) };
      })
      .toSorted((a, b) => a.p - b.p || changes(b) - changes(a)),
    all: { counts: countPairs(pairs.map(outcomes)), ...rates(pairs, seed) },
    unpaired: { first: first.outcomes.filter((o) => !used.has(o)), second: second.outcomes.filter((o) => !met.has(o)) },
    scores: scored.scores,
    cautions: [...cautions(pairs), ...scored.cautions],
  };
}

/** Each side has one name of a field only, and they differ. */
function differsOnly(field: Field, first: Side, second: Side): boolean {
  const [a, b] = [first, second].map(({ outcomes: list }) => new Set(list.map((o) => o[field]))) as [Set<string>, Set<string>];
  return a.size === 1 && b.size === 1 && [...a][0] !== [...b][0];
}

/** Prompts of a row whose outcome differs. */
function changes({ counts: { onlyFirst, onlySecond } }: PairedRow): number {
  return onlyFirst + onlySecond;
}

function outcomes({ first, second }: Pair): [boolean, boolean] {
  return [first.success, second.success];
}

function rates(pairs: readonly Pair[], seed: number): Pick<PairedRow, "first" | "second" | "difference"> {
  const prompts = new Map<string, [boolean, boolean][]>();
  for (const pair of pairs) {
    const prompt = JSON.stringify([pair.first.concept, pair.first.case]);
    prompts.set(prompt, [...(prompts.get(prompt) ?? []), outcomes(pair)]);
  }
  return {
    first: wilson(pairs.filter((p) => p.first.success).length, pairs.length),
    second: wilson(pairs.filter((p) => p.second.success).length, pairs.length),
    difference: bootstrapDifference([...prompts.values()], seed),
  };
}

/** "a/text-grad/church", or "a | b/text-grad/church" where the sides' names differ. */
function rowName({ first, second }: Pair): string {
  return (["checkpoint", "attacker", "concept"] as const)
    .map((field) => (first[field] === second[field] ? first[field] : `${first[field]} | ${second[field]}`))
    .join("/");
}

function nothingPairs(first: Side, second: Side): string {
  const names = ({ outcomes: list }: Side, field: Field): string =>
    [...new Set(list.map((o) => o[field]))].slice(0, 4).join(", ") || "none";
  const what = (["checkpoint", "attacker", "concept"] as const)
    .map((field) => `${field}s ${names(first, field)} and ${names(second, field)}`)
    .join("; ");
  return `${first.name} and ${second.name} have no prompt in common: ${what}`;
}

function cautions(pairs: readonly Pair[]): string[] {
  const different = (field: "prompt" | "seed"): number => pairs.filter((p) => p.first[field] !== p.second[field]).length;
  const rules = new Set(
    pairs
      .filter(({ first, second }) => first.rule !== second.rule)
      .map(({ first, second }) => `The judges' rules differ for ${first.concept}: ${first.rule}, and ${second.rule}.`),
  );
  const [prompts, seeds] = [different("prompt"), different("seed")];
  return [
    ...rules,
    ...(prompts > 0 ? [`${prompts} of ${pairs.length} pairs have different prompts under the same case.`] : []),
    ...(seeds > 0 ? [`${seeds} of ${pairs.length} pairs were drawn with different seeds.`] : []),
  ];
}
