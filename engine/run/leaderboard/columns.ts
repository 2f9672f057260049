import type { Rate } from "../../metrics/intervals.ts";
import type { SideEffects } from "./side-effects.ts";
import type { CellStatistics } from "./statistics.ts";

/** What the tables are made of. */
export interface Board {
  readonly title: string;
  readonly rows: readonly CellStatistics[];
  readonly effects: readonly SideEffects[];
}

/** A column of a table. All that shows the table reads it from here: page, Markdown, LaTeX, terminal, CSV and JSON. */
export interface Column<Row> {
  /** Header where people read. Left out: the column is in the CSV or the JSON alone. */
  readonly title?: string;
  /** The cell where people read; empty for what there is not. */
  readonly text?: (row: Row, board: Board) => string;
  /** It names the row: written left, before the numbers. */
  readonly names?: true;
  /** It holds words that may go over several lines. */
  readonly wraps?: true;
  /** What the page sorts by; NaN comes last. Left out: the text. */
  readonly order?: (row: Row) => number;
  /** From 0 to 1, drawn as a bar behind the cell. */
  readonly share?: (row: Row) => number;
  /** Headers of leaderboard.csv and their values. */
  readonly csv?: readonly (readonly [header: string, value: (row: Row) => string | number])[];
  /** Fields of the row in `--json`. */
  readonly json?: (row: Row) => Readonly<Record<string, unknown>>;
  /** A sentence that says what it means, for below the table. */
  readonly note?: string;
  /** Whether the table has it. Left out: always. */
  readonly present?: (board: Board) => boolean;
}

/** A table as text. */
export interface TextTable {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** How many columns from the left are names. */
  readonly names: number;
  /** Which columns are prose: the first to go where there is no room. */
  readonly prose?: readonly number[];
}

/** The columns that people see. */
export function shownColumns<Row>(columns: readonly Column<Row>[], board: Board): (Column<Row> & { readonly title: string })[] {
  const shown = columns.filter((c): c is Column<Row> & { readonly title: string } => c.title !== undefined);
  return shown.filter((c) => c.present?.(board) ?? true);
}

/** A cell as people read it. */
export function cellText<Row>(column: Column<Row>, row: Row, board: Board): string {
  return column.text?.(row, board) || "-";
}

/** The table for Markdown, LaTeX and terminals. */
export function textTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], board: Board): TextTable {
  const shown = shownColumns(columns, board);
  return {
    header: shown.map((c) => c.title),
    names: shown.filter((c) => c.names).length,
    prose: shown.flatMap((c, i) => (c.wraps ? [i] : [])),
    rows: rows.map((row) => shown.map((c) => cellText(c, row, board))),
  };
}

/** The table as CSV: rates from 0 to 1, empty fields for what there is not. */
export function csvTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const fields = columns.flatMap((c) => c.csv ?? []);
  const quoted = (value: string | number): string =>
    /[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return [fields.map(([header]) => header), ...rows.map((row) => fields.map(([, value]) => value(row)))]
    .map((cells) => `${cells.map(quoted).join(",")}\n`)
    .join("");
}

/** The rows for programs. */
export function jsonRows<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): object[] {
  return rows.map((row) => Object.assign({}, ...columns.map((c) => c.json?.(row) ?? {})) as object);
}

/** What the shown columns mean. */
export function columnNotes<Row>(columns: readonly Column<Row>[], board: Board): string[] {
  return shownColumns(columns, board).flatMap((c) => c.note ?? []);
}

/** "41.7% [19.3, 68.0]" */
export function percent({ rate, low, high }: Rate): string {
  return `${(100 * rate).toFixed(1)}% [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`;
}

/** A column's three CSV fields for a rate: `NAME_fraction`, `NAME_low_95`, `NAME_high_95`. */
export function rateFields<Row>(name: string, rate: (row: Row) => Rate): (readonly [string, (row: Row) => string])[] {
  return [
    [`${name}_fraction`, (row) => fixed(rate(row).rate, 4)],
    [`${name}_low_95`, (row) => fixed(rate(row).low, 4)],
    [`${name}_high_95`, (row) => fixed(rate(row).high, 4)],
  ];
}

/** Empty for what is not a number. */
export function fixed(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : "";
}
