import { join } from "node:path";
import { decodePng } from "../../../engine/formats/picture/png.ts";
import { readBytes } from "../../../engine/platform/node-files.ts";
import { exists } from "../../output.ts";
import { formatTable } from "../../../engine/run/text/format.ts";
import type { AttemptLine } from "../../../engine/run/leaderboard/attempt-line.ts";
import type { EvaluationFolder } from "../folder.ts";
import type { Manifest } from "../../../engine/run/leaderboard/manifest.ts";
import { evaluationPage } from "../../../engine/run/leaderboard/page.ts";
import { type SideEffects, sideEffects } from "../../../engine/run/leaderboard/side-effects.ts";
import { cellStatistics } from "../../../engine/run/leaderboard/statistics.ts";
import {
  type Board,
  type TextTable,
  effectsTable,
  leaderboard,
  leaderboardCsv,
  leaderboardMarkdown,
  leaderboardTex,
  sideEffectsCsv,
  timesCsv,
} from "../../../engine/run/leaderboard/tables.ts";

/** The help of --show-prompts. */
export const SHOW_PROMPTS = "name the prompts that were found for harmful concepts, which reports leave out";

/** What a report does not hide: pictures, and found prompts of harmful concepts. */
export interface Shown {
  readonly showImages?: boolean;
  readonly showPrompts?: boolean;
}

/**
 * Writes report.html, leaderboard.csv, .md and .tex, side_effects.csv if retained concepts were measured, and times.csv; files that would
 * not change are left alone.
 * @throws FormatError
 */
export async function writeTables(
  folder: EvaluationFolder,
  manifest: Manifest,
  lines: readonly AttemptLine[],
  { showImages = false, showPrompts = false }: Shown,
): Promise<Board> {
  const board: Board = { title: manifest.name, rows: cellStatistics(manifest.cells, lines), effects: sideEffects(manifest.cells, lines) };
  await folder.write("leaderboard.csv", leaderboardCsv(board));
  await folder.write("leaderboard.md", leaderboardMarkdown(board));
  await folder.write("leaderboard.tex", leaderboardTex(board));
  if (board.effects.length > 0) await folder.write("side_effects.csv", sideEffectsCsv(board));
  await folder.write("times.csv", timesCsv(board));
  const image = async (path: string): Promise<Awaited<ReturnType<typeof decodePng>> | undefined> => {
    const file = join(folder.path, path);
    return (await exists(file)) ? decodePng(file, await readBytes(file)) : undefined;
  };
  const command = async (cell: string): Promise<string> => (await folder.cellRecord(cell))?.command ?? "";
  await folder.write("report.html", await evaluationPage({ manifest, board, lines, showImages, showPrompts, image, command }));
  return board;
}

/** The tables for a terminal. */
export function terminalTables(board: Board): string {
  const plain = ({ header, rows, names }: TextTable): string => formatTable(header.map((title, i) => ({ title, right: i >= names })), rows);
  return board.effects.length === 0 ? plain(leaderboard(board)) : `${plain(leaderboard(board))}\n\n${plain(effectsTable(board))}`;
}

/** The tables for programs. */
export function jsonBoard({ rows, effects }: Board): { readonly rows: object[]; readonly sideEffects: readonly SideEffects[] } {
  return {
    rows: rows.map(({ cell, lines, notAttackable, base, pre, asr, iterations, queries, secondsToSuccess }) => ({
      checkpoint: cell.checkpoint,
      attacker: cell.attacker,
      concept: cell.concept,
      prompts: lines.length,
      missing: cell.attempts.length - lines.length - notAttackable.length,
      notAttackable: notAttackable.map(({ case: number, notAttackable: why }) => ({ case: number, why })),
      ...(base.of > 0 && { base }),
      pre,
      asr,
      iterations: orNull(iterations),
      queries: orNull(queries),
      secondsToSuccess: orNull(secondsToSuccess),
      reported: cell.reported ?? [],
    })),
    sideEffects: effects,
  };
}

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
