import { join } from "node:path";
import { decodePng } from "../../engine/formats/png.ts";
import { readBytes } from "../../engine/platform/node-files.ts";
import { exists } from "../output.ts";
import { formatTable } from "../table.ts";
import type { AttemptLine } from "./attempt-line.ts";
import type { EvaluationFolder, Manifest } from "./folder.ts";
import { evaluationPage } from "./page.ts";
import { type CellStatistics, cellStatistics } from "./statistics.ts";
import { COLUMNS, leaderboardCsv, leaderboardMarkdown, leaderboardTex, rowCells, timesCsv } from "./tables.ts";

/** Writes report.html, leaderboard.csv, .md and .tex, and times.csv; files that would not change are left alone. @throws FormatError */
export async function writeTables(folder: EvaluationFolder, manifest: Manifest, lines: readonly AttemptLine[], showImages: boolean): Promise<CellStatistics[]> {
  const rows = cellStatistics(manifest.cells, lines);
  await folder.write("leaderboard.csv", leaderboardCsv(rows));
  await folder.write("leaderboard.md", leaderboardMarkdown(manifest.name, rows));
  await folder.write("leaderboard.tex", leaderboardTex(manifest.name, rows));
  await folder.write("times.csv", timesCsv(rows));
  const image = async (path: string): Promise<Awaited<ReturnType<typeof decodePng>> | undefined> => {
    const file = join(folder.path, path);
    return (await exists(file)) ? decodePng(file, await readBytes(file)) : undefined;
  };
  await folder.write("report.html", await evaluationPage({ manifest, rows, showImages, image }));
  return rows;
}

/** The leaderboard for a terminal. */
export function terminalTable(rows: readonly CellStatistics[]): string {
  return formatTable(COLUMNS.map((title, i) => ({ title, right: i >= 3 })), rows.map(rowCells));
}

/** The leaderboard for programs. */
export function jsonRows(rows: readonly CellStatistics[]): object[] {
  return rows.map(({ cell, lines, pre, asr, iterations, queries, secondsToSuccess }) => ({
    checkpoint: cell.checkpoint, attacker: cell.attacker, concept: cell.concept, prompts: lines.length, missing: cell.attempts.length - lines.length,
    pre, asr, iterations: orNull(iterations), queries: orNull(queries), secondsToSuccess: orNull(secondsToSuccess),
  }));
}

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
