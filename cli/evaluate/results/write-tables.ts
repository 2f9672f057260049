import { join } from "node:path";
import { makeFolder } from "../../../engine/platform/node-files.ts";
import { type AttemptLine, attemptFolder } from "../../../engine/run/leaderboard/attempt-line.ts";
import { terminalTable } from "../../terminal/table.ts";
import { type Shown, reportExtras } from "../../shown.ts";
import type { EvaluationFolder } from "../folder.ts";
import { readQuality } from "../quality/results.ts";
import type { Manifest } from "../../../engine/run/leaderboard/manifest.ts";
import { bibliography } from "../../../engine/run/leaderboard/methods.ts";
import { type SideEffects, sideEffects } from "../../../engine/run/leaderboard/side-effects.ts";
import { cellStatistics } from "../../../engine/run/leaderboard/statistics.ts";
import { type Board, type TextTable, csvTable, jsonRows } from "../../../engine/run/leaderboard/columns.ts";
import { leaderboardTex } from "../../../engine/run/leaderboard/latex.ts";
import { EFFECTS, LEADERBOARD, TIMES } from "../../../engine/run/leaderboard/leaderboard-columns.ts";
import { depthsTable, probesMarkdown, probesTable } from "../../../engine/run/leaderboard/probe-tables.ts";
import { type DepthOfConcept, type ProbeVerdict, depths, probeVerdicts } from "../../../engine/run/leaderboard/probe-verdict.ts";
import { effectsTable, leaderboard, leaderboardCsv, leaderboardMarkdown } from "../../../engine/run/leaderboard/tables.ts";
import { folderStore } from "../../../engine/platform/folder-store.ts";
import { RunFiles } from "../../../engine/run/files.ts";
import type { MadeCheckpoint } from "../../../engine/run/leaderboard/page/made.ts";
import { UNLEARN_FILES, UnlearnFiles } from "../../../engine/run/unlearn/files.ts";
import { isPreview } from "../../../engine/run/unlearn/log.ts";

/** The board with what probes say. */
export interface WrittenBoard extends Board {
  readonly probes: readonly ProbeVerdict[];
  readonly depths: readonly DepthOfConcept[];
}

/**
 * Writes report.html, leaderboard.csv, .md and .tex, figures/, references.bib, side_effects.csv if retained concepts were measured, and
 * times.csv, and has the attempts' own reports show the same as report.html; files that would not change are left alone.
 * @param warn told of each figure that cannot be a PDF, and of reports that cannot be rendered again
 * @throws FormatError
 */
export async function writeTables(
  folder: EvaluationFolder,
  manifest: Manifest,
  lines: readonly AttemptLine[],
  shown: Shown,
  warn: (line: string) => void,
): Promise<WrittenBoard> {
  const { showImages = false, showPrompts = false } = shown;
  await showAttempts(folder.path, manifest, lines, shown, warn);
  const board = await readBoard(folder, manifest, lines);
  await folder.write("leaderboard.csv", leaderboardCsv(board));
  await folder.write("leaderboard.md", leaderboardMarkdown(board));
  await folder.write("leaderboard.tex", leaderboardTex(board));
  if (board.effects.length > 0) await folder.write("side_effects.csv", csvTable(EFFECTS, board.effects));
  await folder.write("times.csv", csvTable(TIMES, board.rows));
  for (const name of await writeFigures(folder, manifest, board)) {
    warn(`figures/${name} has no PDF: its labels need a font that not every PDF reader has. Convert the SVG.`);
  }
  const probes = probeVerdicts(manifest.cells, lines);
  if (probes.length > 0) await folder.write("probes.md", probesMarkdown(manifest.name, probes, depths(manifest.cells, lines)));
  const dates = async (): Promise<string[]> => {
    const made = lines.filter((line) => line.notAttackable === undefined);
    const records = await Promise.all(made.map(({ id }) => folder.attemptRecord(id)));
    return records.flatMap(({ started, ended }) => [started, ended ?? ""]);
  };
  // The page and its charts are a third of the program: loaded where they are drawn.
  const { evaluationPage } = await import("../../../engine/run/leaderboard/page/page.ts");
  const made = await readMade(folder.path, manifest);
  const page = await evaluationPage({
    manifest, board, lines, showImages, showPrompts, dates, made,
    image: (path) => folder.picture(path),
    log: (attempt) => folder.log(attempt),
    record: (cell) => folder.cellRecord(cell),
  });
  await folder.write("report.html", page);
  return { ...board, probes, depths: depths(manifest.cells, lines) };
}

/** The numbers of an evaluation, from what its folder holds. @throws FormatError */
export async function readBoard(
  folder: EvaluationFolder,
  { name, cells, quality }: Manifest,
  lines: readonly AttemptLine[],
): Promise<Board> {
  const scores = await readQuality(folder.path, quality);
  return { title: name, rows: cellStatistics(cells, lines, scores), effects: sideEffects(cells, lines, scores) };
}

/**
 * figures/*.svg and .pdf, and references.bib, for papers.
 * @returns the figures that have no PDF, since their labels need a font that PDF readers need not have
 * @throws FormatError
 */
async function writeFigures(folder: EvaluationFolder, manifest: Manifest, board: Board): Promise<string[]> {
  const { figurePdf } = await import("./figure-pdf.ts");
  const { figureFiles } = await import("../../../engine/run/leaderboard/charts/figures.ts");
  await makeFolder(join(folder.path, "figures"));
  const without: string[] = [];
  for (const [name, svg] of figureFiles(board)) {
    await folder.write(`figures/${name}`, svg);
    const pdf = await figurePdf(svg);
    if (pdf) await folder.write(`figures/${name.replace(/svg$/, "pdf")}`, pdf);
    else without.push(name);
  }
  await folder.write("references.bib", bibliography(manifest, board.rows));
  return without;
}

/** The tables for a terminal. */
export function terminalTables(board: WrittenBoard): string {
  const plain = ({ header, rows, names, prose = [] }: TextTable): string =>
    terminalTable(
      header.map((title, i) => ({ title, right: i >= names && !prose.includes(i), prose: prose.includes(i) })),
      rows,
    );
  const tables = [
    leaderboard(board),
    ...(board.effects.length > 0 ? [effectsTable(board)] : []),
    ...(board.probes.length > 0 ? [probesTable(board.probes), depthsTable(board.depths)] : []),
  ];
  return tables.map(plain).join("\n\n");
}

/** The tables for programs. */
export function jsonBoard({ rows, effects, probes, depths: found }: WrittenBoard): {
  readonly rows: object[];
  readonly sideEffects: readonly SideEffects[];
  readonly probes?: object[];
  readonly depths?: readonly DepthOfConcept[];
} {
  return {
    rows: jsonRows(LEADERBOARD, rows),
    sideEffects: effects,
    ...(probes.length > 0 && {
      probes: probes.map(({ cell, ...rest }) => ({ checkpoint: cell.checkpoint, probe: cell.attacker, concept: cell.concept, ...rest })),
      depths: found,
    }),
  };
}

/**
 * Makes the report of each attempt show what the evaluation's own shows: attempts that were copied may come from one that showed more, or
 * whose judge was of a harmless concept. Reports that show just that are left alone.
 * @param warn told how many of a harmful concept cannot be rendered again
 * @throws FormatError if a file of an attempt is damaged
 */
async function showAttempts(
  folder: string,
  manifest: Manifest,
  lines: readonly AttemptLine[],
  shown: Shown,
  warn: (line: string) => void,
): Promise<void> {
  const cells = new Map(manifest.cells.flatMap((cell) => cell.attempts.map((id) => [id, cell])));
  let unknown = 0;
  for (const { id, notAttackable } of lines) {
    const cell = cells.get(id);
    if (!cell || notAttackable !== undefined) continue;
    const rendered = await new RunFiles(folderStore(join(folder, attemptFolder(id)))).showReport(reportExtras(shown, cell));
    if (!rendered && cell.harmful) unknown++;
  }
  if (unknown === 0) return;
  warn(`${unknown} reports in cells/ are as they were: an earlier version made them. They may name prompts that are left out elsewhere.`);
}

/** The checkpoints that an evaluation made, as far as their runs are there. @param folder the evaluation's @throws FormatError */
async function readMade(folder: string, { unlearned = [] }: Manifest): Promise<MadeCheckpoint[]> {
  const made: MadeCheckpoint[] = [];
  for (const { checkpoint, run } of unlearned) {
    const files = new UnlearnFiles(folderStore(join(folder, run)));
    const record = await files.earlier();
    if (!record) continue;
    const previews = (await files.lines()).filter(isPreview).toSorted((a, b) => a.step - b.step);
    const own = previews.filter(({ prompt }) => prompt === previews[0]?.prompt);
    const [first, last] = [own[0], own.at(-1)];
    const [before, after] = [
      first && (await files.picture(first.image)),
      last && last !== first ? await files.picture(last.image) : undefined,
    ];
    made.push({ checkpoint, record, before, after, report: `${run}/${UNLEARN_FILES.report}` });
  }
  return made;
}
