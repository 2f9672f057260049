/**
 * The columns of the tables of an evaluation. A new measure is a new entry here: page, Markdown, LaTeX, CSV, JSON and terminal show it.
 */
import type { Rate } from "../../metrics/intervals.ts";
import { type Board, type Column, fixed, percent, rateFields } from "./columns.ts";
import { type Reported, reportedText, sourcesOf } from "./reported.ts";
import { type QualityScores, scoreText } from "./quality.ts";
import type { SideEffects } from "./side-effects.ts";
import type { CellStatistics } from "./statistics.ts";

const CELL = (["checkpoint", "attacker", "concept"] as const).map((name): Column<CellStatistics> => ({
  ...nameOf(name, ({ cell }) => cell[name]),
  json: ({ cell }) => ({ [name]: cell[name] }),
}));

/** A column that names the row. */
function nameOf<Row>(title: string, text: (row: Row) => string): Column<Row> {
  return { title, names: true, text, csv: [[title, text]] };
}

/** Rows of the leaderboard: a checkpoint under an attacker, for a concept. */
export const LEADERBOARD: readonly Column<CellStatistics>[] = [
  ...CELL,
  {
    title: "N",
    text: promptCount,
    order: ({ lines }) => lines.length,
    csv: [
      ["prompts", ({ lines }) => lines.length],
      ["prompts_missing", missing],
      ["prompts_not_attackable", ({ notAttackable }) => notAttackable.length],
    ],
    json: (row) => ({
      prompts: row.lines.length,
      missing: missing(row),
      notAttackable: row.notAttackable.map(({ case: number, notAttackable: why }) => ({ case: number, why })),
    }),
  },
  {
    title: "base",
    text: ({ base }) => (base.of > 0 ? `${base.count}/${base.of}` : ""),
    order: ({ base }) => base.rate,
    present: ({ rows }) => rows.some(({ base }) => base.of > 0),
    json: ({ base }) => (base.of > 0 ? { base } : {}),
    note: "Base: prompts for which the model before unlearning draws the concept. A prompt that it does not draw says nothing.",
  },
  {
    title: "pre-ASR",
    text: ({ pre }) => percent(pre),
    order: ({ pre }) => pre.rate,
    csv: [["pre_successes", ({ pre }) => pre.count], ...rateFields<CellStatistics>("pre_asr", ({ pre }) => pre)],
    json: ({ pre }) => ({ pre }),
    note: "pre-ASR: prompts that draw the concept without an attack.",
  },
  {
    title: "ASR",
    text: ({ asr }) => percent(asr),
    order: ({ asr }) => asr.rate,
    share: ({ asr }) => asr.rate,
    csv: [["attack_successes", ({ asr, pre }) => asr.count - pre.count], ...rateFields<CellStatistics>("asr", ({ asr }) => asr)],
    json: ({ asr }) => ({ asr }),
    note: "ASR: these and those that the attack broke, of all prompts. Brackets: Wilson 95% intervals.",
  },
  meanOf("iterations", "mean_iterations_to_success"),
  {
    ...meanOf("queries", "mean_pictures_to_success"),
    note: "Iterations and queries (pictures drawn and judged): means over the prompts that the attack broke.",
  },
  { json: ({ secondsToSuccess }) => ({ secondsToSuccess: orNull(secondsToSuccess) }) },
  ...qualityColumns<CellStatistics>(),
  // Beside the scores of pictures; without those the side effects have a table of their own only.
  ...effectColumns<CellStatistics>((row) => row.effects).map(({ present, ...column }) => ({
    ...column,
    present: (board: Board) => present(board) && board.rows.some((row) => row.quality !== undefined),
  })),
  {
    title: "FID elsewhere",
    wraps: true,
    text: (row, { rows }) => reportedText(fidsOf(row), sourcesOf(rows)),
    present: ({ rows }) => rows.some((row) => fidsOf(row).length > 0),
    note:
      "FID elsewhere: what others published of the same method, concept, recipe and layer. It is not part of our numbers, and it is only " +
      "comparable over the same captions and real pictures.",
  },
  {
    title: "reported elsewhere",
    wraps: true,
    text: (row, { rows }) => reportedText(ratesOf(row), sourcesOf(rows)),
    present: ({ rows }) => rows.some((row) => ratesOf(row).length > 0),
    csv: [["reported", ({ reported }) => reported.map((r) => `${r.value} (${r.of}; ${r.source.url})`).join("; ")]],
    json: ({ reported }) => ({ reported }),
    note:
      "Reported elsewhere: what others published of the same method, concept and attacker, on the model and prompts in brackets. It is " +
      "not part of our numbers.",
  },
  // The last columns of the CSV: those before them keep their places.
  {
    csv: [
      ["base_prompts", ({ base }) => base.of],
      ...rateFields<CellStatistics>("base", ({ base }) => (base.of > 0 ? base : NO_RATE)),
    ],
  },
  { csv: qualityFields() },
];

/** A mean over the prompts that the attack broke. */
function meanOf(title: "iterations" | "queries", header: string): Column<CellStatistics> {
  const text = (row: CellStatistics): string => fixed(row[title], 1);
  return { title, text, order: (row) => row[title], csv: [[header, text]], json: (row) => ({ [title]: orNull(row[title]) }) };
}

function ratesOf({ reported }: CellStatistics): Reported[] {
  return reported.filter((r) => r.features === undefined);
}

function fidsOf({ reported }: CellStatistics): Reported[] {
  return reported.filter((r) => r.features !== undefined);
}

/** Empty fields. */
const NO_RATE: Rate = { count: 0, of: 0, rate: Number.NaN, low: Number.NaN, high: Number.NaN };

/** Seconds, which no two runs have the same: times.csv and the report's last section. */
export const TIMES: readonly Column<CellStatistics>[] = [
  ...CELL,
  { csv: [["prompts", ({ lines }) => lines.length]] },
  seconds("to success", "mean_seconds_to_success", (r) => r.secondsToSuccess),
  seconds("all prompts", "mean_seconds", (r) => r.seconds),
  seconds("drawing and judging", "mean_draw_seconds", (r) => r.drawSeconds),
  seconds("searching", "mean_search_seconds", (r) => r.searchSeconds),
];

function seconds(title: string, header: string, of: (row: CellStatistics) => number): Column<CellStatistics> {
  return { title, text: (row) => fixed(of(row), 2), order: of, csv: [[header, (row) => fixed(of(row), 3)]] };
}

/** What unlearning did to the rest of the model: side_effects.csv. */
export const EFFECTS: readonly Column<SideEffects>[] = [
  nameOf("checkpoint", (e) => e.checkpoint),
  nameOf("concept", (e) => e.concept),
  ...effectColumns<SideEffects>((row) => row).map((column) => ({ ...column, csv: column.fields })),
  ...qualityColumns<SideEffects>(),
  { csv: qualityFields() },
];

type Scored = { readonly quality?: QualityScores | undefined };

/** Frechet and kernel distance and CLIP score of a row's checkpoint, each where it was measured. */
function qualityColumns<Row extends Scored>(): Column<Row>[] {
  const column = (title: string, value: (s: QualityScores) => number | null, text: (s: QualityScores) => string): Column<Row> => ({
    title,
    text: ({ quality }) => (quality ? text(quality) : ""),
    order: ({ quality }) => (quality ? value(quality) : null) ?? Number.NaN,
    present: ({ rows, effects }) => [...rows, ...effects].some(({ quality }) => quality && value(quality) !== null),
  });
  const distance = (name: QualityScores["distanceName"], title: string): Column<Row> => {
    const own = (s: QualityScores): number | null => (s.distanceName === name ? s.frechet : null);
    return column(title, own, (s) => scoreText(own(s), s.frechetInterval));
  };
  return [
    distance("FID", "FID"),
    distance("Frechet distance", "Frechet distance"),
    column("kernel distance", (s) => (s.distanceName === "FID" ? null : s.kid), (s) => scoreText(s.kid)),
    column("KID", (s) => (s.distanceName === "FID" ? s.kid : null), (s) => scoreText(s.kid)),
    column("CLIP score", (s) => s.clipScore, (s) => scoreText(s.clipScore, s.clipInterval)),
    { json: ({ quality }) => (quality ? { quality } : {}) },
  ];
}

/** The fields of a CSV for the same. */
function qualityFields<Row extends Scored>(): NonNullable<Column<Row>["csv"]> {
  const field = (header: string, of: (s: QualityScores) => string | number | null | undefined) =>
    [header, ({ quality }: Row) => (quality ? (of(quality) ?? "") : "")] as const;
  const fid = (s: QualityScores): boolean => s.distanceName === "FID";
  return [
    field("fid", (s) => (fid(s) ? s.frechet : "")),
    field("fid_low_95", (s) => (fid(s) ? s.frechetInterval?.[0] : "")),
    field("fid_high_95", (s) => (fid(s) ? s.frechetInterval?.[1] : "")),
    field("frechet_distance", (s) => (fid(s) ? "" : s.frechet)),
    field("frechet_distance_low_95", (s) => (fid(s) ? "" : s.frechetInterval?.[0])),
    field("frechet_distance_high_95", (s) => (fid(s) ? "" : s.frechetInterval?.[1])),
    field("kid", (s) => s.kid),
    field("kid_std", (s) => s.kidStd),
    field("clip_score", (s) => s.clipScore),
    field("clip_score_low_95", (s) => s.clipInterval?.[0]),
    field("clip_score_high_95", (s) => s.clipInterval?.[1]),
    field("quality_pictures", (s) => s.count),
    field("features", (s) => s.features),
  ];
}

/** UA, IRA and CRA, each where it was measured. */
function effectColumns<Row>(of: (row: Row) => SideEffects | undefined) {
  return (["ua", "ira", "cra"] as const).map((name) => {
    const rate = (row: Row): Rate => of(row)?.[name] ?? NO_RATE;
    return {
      title: name.toUpperCase(),
      text: (row: Row) => (rate(row).of === 0 ? "" : `${percent(rate(row))} of ${rate(row).of}`),
      order: (row: Row) => (rate(row).of === 0 ? Number.NaN : rate(row).rate),
      present: ({ effects }: Board) => effects.some((e) => e[name].of > 0),
      fields: [[`${name}_pictures`, (row: Row) => rate(row).of] as const, ...rateFields(name, rate)],
    };
  });
}

function missing({ cell, lines, notAttackable }: CellStatistics): number {
  return cell.attempts.length - lines.length - notAttackable.length;
}

/** "12", "8 of 12", or "11 of 12 (1 not attackable)". */
function promptCount({ cell, lines, notAttackable }: CellStatistics): string {
  const all = cell.attempts.length;
  if (lines.length === all) return String(all);
  return `${lines.length} of ${all}${notAttackable.length > 0 ? ` (${notAttackable.length} not attackable)` : ""}`;
}

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
