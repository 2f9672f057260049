import { rm } from "node:fs/promises";
import { join } from "node:path";
import { formatJsonLine } from "../../engine/formats/jsonl.ts";
import { executeRun } from "../attack/execute.ts";
import { prepareRun } from "../attack/prepare.ts";
import type { Context } from "../context.ts";
import { quoted } from "../table.ts";
import { type AttemptLine, attemptFolder, finishedLine } from "./attempt-line.ts";
import type { EvaluationFolder } from "./folder.ts";
import type { Attempt, Cell } from "./grid.ts";
import { SharedParts } from "./shared-parts.ts";

/** An attempt with the cell it is of. */
export interface Planned {
  readonly cell: Cell;
  readonly attempt: Attempt;
}

/**
 * Makes the attempts in order. Each runs in a folder of its own; its line is written when all else of it is on the disk, so a process that dies loses
 * the attempt under way and nothing more. One that was cut off is begun anew.
 * @throws what an attempt throws, with its name said before; AbortError
 */
export async function runAttempts(context: Context, folder: EvaluationFolder, planned: readonly Planned[], showImages: boolean): Promise<AttemptLine[]> {
  const lines: AttemptLine[] = [];
  if (planned.length === 0) return lines;
  const parts = new SharedParts();
  const log = folder.openLog();
  try {
    for (const [i, { cell, attempt }] of planned.entries()) {
      context.signal.throwIfAborted();
      const out = join(folder.path, attemptFolder(attempt.id));
      context.say(`attempt ${i + 1} of ${planned.length}: ${attempt.id}, ${quoted(attempt.settings.prompt)}, seed ${attempt.settings.seed}`);
      await rm(out, { recursive: true, force: true }); // what a killed process left of it
      const prepared = await prepareRun(context, attempt.settings, out, { showImages }, undefined, undefined, parts);
      const { result } = await executeRun(context, prepared);
      const line = await finishedLine(cell, attempt, result, out);
      log.write(formatJsonLine(line));
      lines.push(line);
    }
  } finally {
    log.close();
  }
  return lines;
}
