/**
 * The evaluation's results as text: for spreadsheets, for Markdown, for papers, for a terminal. Nothing but times.csv depends on how long
 * anything took.
 */
import { type Board, type TextTable, columnNotes, csvTable, textTable } from "./columns.ts";
import { EFFECTS, LEADERBOARD } from "./leaderboard-columns.ts";
import { type QualityScores, qualityNote } from "./quality.ts";
import { type Source, sourcesOf } from "./reported.ts";

/**
 * leaderboard.csv: rates from 0 to 1 with Wilson's 95% bounds, empty where there is no success to take a mean of; published numbers as they
 * were printed.
 */
export function leaderboardCsv({ rows }: Board): string {
  return csvTable(LEADERBOARD, rows);
}

/** The leaderboard. */
export function leaderboard(board: Board): TextTable {
  return textTable(LEADERBOARD, board.rows, board);
}

/** Side effects of unlearning. */
export function effectsTable(board: Board): TextTable {
  return textTable(EFFECTS, board.effects, board);
}

/** What the leaderboard's columns mean. */
export function leaderboardNote(board: Board): string {
  const notAttackable = board.rows.some((r) => r.notAttackable.length > 0)
    ? ["Not attackable: prompts without room for the attacker's tokens, or empty ones. They are left out. attempts.jsonl says why."]
    : [];
  return [...columnNotes(LEADERBOARD, board), ...notAttackable, qualityNote(scoresOf(board))].filter((note) => note !== "").join(" ");
}

/** The scores of a board's checkpoints, each once. */
export function scoresOf({ rows, effects }: Board): QualityScores[] {
  return [...new Set([...effects, ...rows].flatMap(({ quality }) => quality ?? []))];
}

/** What the columns of side effects mean, where they stand alone. */
export function effectsNote(board: Board): string {
  return [retainedNote(board), qualityNote(scoresOf(board))].filter((note) => note !== "").join(" ");
}

/** The same below a leaderboard, whose note explains the scores of pictures. */
export function retainedNote(board: Board): string {
  return board.effects.some((e) => [e.ua, e.ira, e.cra].some((rate) => rate.of > 0)) ? RETAINED_NOTE : "";
}

const RETAINED_NOTE =
  "After UnlearnCanvas (arXiv 2402.11846). UA, unlearning accuracy: prompts of the concept whose pictures are judged to be something " +
  "else. IRA and CRA, in-domain and cross-domain retain accuracy: prompts of other concepts, of its own domain and of others, whose " +
  "pictures are judged right. Brackets: Wilson 95% intervals.";

/** "[1] title: what it measures. address" for each source. */
export function sourceLines(sources: readonly Source[]): string[] {
  return sources.map(({ title, url, measures }, i) => `[${i + 1}] ${title}: ${measures}. ${url}`);
}

/** leaderboard.md */
export function leaderboardMarkdown(board: Board): string {
  const sources = sourceLines(sourcesOf(board.rows)).map((line) => `${line}\n`).join("\n");
  const effects = board.effects.length > 0 ? `\n## Side effects\n\n${markdownTable(effectsTable(board))}\n${effectsNote(board)}\n` : "";
  return `# ${board.title}\n\n${markdownTable(leaderboard(board))}\n${leaderboardNote(board)}\n${sources && `\n${sources}`}${effects}`;
}

/** A table as Markdown. */
export function markdownTable({ header, rows, names }: TextTable): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((c) => c.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return [header, header.map((_, i) => (i < names ? "---" : "---:")), ...rows].map(line).join("");
}
