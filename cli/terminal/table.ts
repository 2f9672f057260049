import Table from "cli-table3";
import stringWidth from "string-width";
import { colours, widthOf } from "./style.ts";

export interface Column {
  readonly title: string;
  /** Numbers: to the right. */
  readonly right?: boolean;
  /** Prose, which a report has as well: left out where the table is too wide with it. */
  readonly prose?: boolean;
}

/** Columns by their titles. @param numbers the places of those to the right */
export function columnsOf(titles: readonly string[], numbers: readonly number[] = []): Column[] {
  return titles.map((title, i) => ({ title, right: numbers.includes(i) }));
}

type Row = readonly string[];
const GAP = 2;
const NO_LINES = Object.fromEntries(
  [
    "top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right", "left", "left-mid", "mid", "mid-mid",
    "right", "right-mid", "middle",
  ].map((name) => [name, ""]),
);

/**
 * Rows in aligned columns under their titles, as wide as stdout's terminal at most; in a pipe as wide as they are. Where they do not fit,
 * prose is left out and cells are wrapped between words. Where that is not enough, a column that says the same everywhere stands once above
 * the table, then the first column becomes a heading over the rows that share it, and so on.
 */
export function terminalTable(columns: readonly Column[], rows: readonly Row[], width = widthOf(process.stdout)): string {
  const plain = naturalWidths(columns, rows);
  if (width === undefined || total(plain) <= width) return render(columns, rows, plain);
  const prose = columns.findIndex((c) => c.prose);
  if (prose >= 0) {
    const rest = terminalTable(without(columns, prose), rows.map((row) => without(row, prose)), width);
    return `${rest}\n${columns[prose]!.title}: in the report`;
  }
  const shrunk = shrink(columns, rows, plain, width);
  if (shrunk) return render(columns, rows, shrunk);
  const same = columns.findIndex((c, i) => !c.right && rows.length > 1 && rows.every((row) => row[i] === rows[0]![i]));
  if (same >= 0 && columns.length > 2) {
    return `${columns[same]!.title}: ${rows[0]![same]}\n${terminalTable(
      without(columns, same),
      rows.map((row) => without(row, same)),
      width,
    )}`;
  }
  const shared = new Set(rows.map((row) => row[0])).size < rows.length;
  return columns.length > 2 && shared ? grouped(columns, rows, width) : records(columns, rows);
}

/** Stands for a blank that is not to be wrapped at: a character for private use, which takes one column. */
const JOINT = "\ue000";

/** An interval, "[39.7, 89.2]", stays together. */
function joined(text: string): string {
  return text.replace(/\[[^\]]*\]/g, (part) => part.replaceAll(" ", JOINT));
}

function without<T>(items: readonly T[], place: number): T[] {
  return items.filter((_, i) => i !== place);
}

/** The rows that share their first cell under it as a heading. */
function grouped(columns: readonly Column[], rows: readonly Row[], width: number): string {
  const groups: { readonly name: string; readonly rows: Row[] }[] = [];
  for (const [name = "", ...rest] of rows) {
    if (groups.at(-1)?.name === name) groups.at(-1)!.rows.push(rest);
    else groups.push({ name, rows: [rest] });
  }
  const paint = colours(process.stdout);
  return groups.map((group) => `${paint.bold(group.name)}\n${terminalTable(columns.slice(1), group.rows, width)}`).join("\n\n");
}

/** Each row as lines of "title: value". */
function records(columns: readonly Column[], rows: readonly Row[]): string {
  return rows.map((row) => columns.map(({ title }, i) => `${title}: ${row[i] ?? ""}`).join("\n")).join("\n\n");
}

function naturalWidths(columns: readonly Column[], rows: readonly Row[]): number[] {
  return columns.map(({ title }, i) => Math.max(stringWidth(title), ...rows.map((row) => stringWidth(row[i] ?? ""))));
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, w) => sum + w, 0) + GAP * (widths.length - 1);
}

/** The widest columns made narrower until all fit, none narrower than its longest word; undefined if that is not enough. */
function shrink(columns: readonly Column[], rows: readonly Row[], natural: readonly number[], width: number): number[] | undefined {
  const longestWord = (text: string): number => Math.max(0, ...joined(text).split(" ").map(stringWidth));
  const least = columns.map(({ title }, i) => Math.max(longestWord(title), ...rows.map((row) => longestWord(row[i] ?? ""))));
  if (total(least) > width) return undefined;
  const widths = [...natural];
  while (total(widths) > width) {
    const spare = widths.map((w, i) => (w > least[i]! ? w : -1));
    const widest = spare.indexOf(Math.max(...spare));
    widths[widest]!--;
  }
  return widths;
}

function render(columns: readonly Column[], rows: readonly Row[], widths: readonly number[]): string {
  const paint = colours(process.stdout);
  const table = new Table({
    head: columns.map((c) => paint.dim(c.title)),
    chars: NO_LINES,
    colAligns: columns.map((c) => (c.right ? "right" : "left")),
    colWidths: widths.map((w) => w + GAP),
    style: { "padding-left": 0, "padding-right": GAP, head: [], border: [], compact: true },
    wordWrap: true,
  });
  table.push(...rows.map((row) => columns.map((_, i) => joined(row[i] ?? ""))));
  return table.toString().replaceAll(JOINT, " ").split("\n").map((line) => line.trimEnd()).join("\n");
}
