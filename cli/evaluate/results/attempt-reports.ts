import { join } from "node:path";
import { folderStore } from "../../../engine/platform/folder-store.ts";
import { RunFiles } from "../../../engine/run/files.ts";
import { type AttemptLine, attemptFolder } from "../../../engine/run/leaderboard/attempt-line.ts";
import type { Manifest } from "../../../engine/run/leaderboard/manifest.ts";
import { type Shown, reportExtras } from "../../shown.ts";

/**
 * Makes the report of each attempt show what the evaluation's own shows: attempts that were copied may come from one that showed more, or
 * whose judge was of a harmless concept. Reports that show just that are left alone.
 * @param warn told how many of a harmful concept cannot be rendered again
 * @throws FormatError if a file of an attempt is damaged
 */
export async function showAttempts(
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
