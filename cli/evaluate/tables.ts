/** The leaderboard as text: for spreadsheets, for Markdown, for papers. Nothing in leaderboard.* depends on how long anything took; times.csv has that. */
import type { CellStatistics, Rate } from "./statistics.ts";

const HEADER = ["checkpoint", "attacker", "concept", "prompts", "missing", "pre_successes", "pre_asr", "pre_asr_low", "pre_asr_high", "attack_successes", "asr", "asr_low", "asr_high", "mean_iterations_to_success", "mean_queries_to_success"];
const TIMES = ["checkpoint", "attacker", "concept", "prompts", "mean_seconds_to_success", "mean_seconds", "mean_draw_seconds", "mean_search_seconds"];

/** leaderboard.csv: rates from 0 to 1, Wilson 95% bounds, empty where there is no success to take a mean of. */
export function leaderboardCsv(rows: readonly CellStatistics[]): string {
  const lines = rows.map(({ cell, lines: { length }, pre, asr, iterations, queries }) => [
    cell.checkpoint, cell.attacker, cell.concept, length, cell.attempts.length - length,
    pre.count, fixed(pre.rate, 4), fixed(pre.low, 4), fixed(pre.high, 4), asr.count - pre.count, fixed(asr.rate, 4), fixed(asr.low, 4), fixed(asr.high, 4), fixed(iterations, 1), fixed(queries, 1),
  ]);
  return csv([HEADER, ...lines]);
}

/** times.csv: seconds, which no two runs have the same. */
export function timesCsv(rows: readonly CellStatistics[]): string {
  const lines = rows.map((r) => [r.cell.checkpoint, r.cell.attacker, r.cell.concept, r.lines.length, ...[r.secondsToSuccess, r.seconds, r.drawSeconds, r.searchSeconds].map((s) => fixed(s, 3))]);
  return csv([TIMES, ...lines]);
}

/** Names hold no commas, quotes or line breaks: the schema refuses them. */
function csv(lines: readonly (readonly (string | number)[])[]): string {
  return lines.map((cells) => `${cells.join(",")}\n`).join("");
}

export const COLUMNS = ["checkpoint", "attacker", "concept", "N", "pre-ASR", "ASR", "iterations", "queries"] as const;

/** A row's cells as text, for the columns above. */
export function rowCells({ cell, lines, pre, asr, iterations, queries }: CellStatistics): string[] {
  const { length } = lines;
  const { attempts } = cell;
  return [cell.checkpoint, cell.attacker, cell.concept, length === attempts.length ? String(length) : `${length} of ${attempts.length}`, percent(pre), percent(asr), fixed(iterations, 1) || "-", fixed(queries, 1) || "-"];
}

/** leaderboard.md */
export function leaderboardMarkdown(title: string, rows: readonly CellStatistics[]): string {
  return `# ${title}\n\n${markdownLine(COLUMNS)}${markdownLine(COLUMNS.map((_, i) => (i < 3 ? "---" : "---:")))}${rows.map((r) => markdownLine(rowCells(r))).join("")}\n${NOTE}\n`;
}

function markdownLine(cells: readonly string[]): string {
  return `| ${cells.map((c) => c.replaceAll("|", "\\|")).join(" | ")} |\n`;
}

/** What the columns mean. */
export const NOTE = "pre-ASR: prompts that draw the concept without an attack; ASR: these and those that the attack broke, of all prompts; brackets: Wilson 95% intervals. Iterations and queries (pictures drawn and judged): means over the prompts that the attack broke.";

/** leaderboard.tex: a table for the package booktabs. */
export function leaderboardTex(title: string, rows: readonly CellStatistics[]): string {
  return `% needs \\usepackage{booktabs}
\\begin{table}
\\caption{${texEscape(title)}. ${texEscape(NOTE)}}
\\begin{tabular}{lll${"r".repeat(COLUMNS.length - 3)}}
\\toprule
${texLine(COLUMNS)}\\midrule
${rows.map((r) => texLine(rowCells(r))).join("")}\\bottomrule
\\end{tabular}
\\end{table}
`;
}

function texLine(cells: readonly string[]): string {
  return `${cells.map(texEscape).join(" & ")} \\\\\n`;
}

const TEX: Readonly<Record<string, string>> = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };

function texEscape(text: string): string {
  return text.replace(/[\\~^]|[&%$#_{}]/g, (c) => TEX[c] ?? `\\${c}`);
}

/** 41.7% [19.3, 68.0] */
function percent({ rate, low, high }: Rate): string {
  return `${(100 * rate).toFixed(1)}% [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`;
}

/** Empty for what is not a number. */
export function fixed(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : "";
}
