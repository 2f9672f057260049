import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { DrawnPicture } from "../../engine/attack/options.ts";
import { formatJsonLine } from "../../engine/formats/text/jsonl.ts";
import { newRun } from "../attack/begin.ts";
import { prepareRun } from "../attack/prepare.ts";
import { runPrepared } from "../attack/run.ts";
import { type Context, globalFlags } from "../context.ts";
import { formatDuration, quoted } from "../../engine/run/text/format.ts";
import { type AttemptLine, attemptFolder } from "../../engine/run/leaderboard/attempt-line.ts";
import { finishedLine, notAttackableLine } from "./results/attempt-line.ts";
import { baseKey, drawBases } from "./base.ts";
import type { EvaluationFolder } from "./folder.ts";
import type { Planned } from "./grid.ts";
import { type Shown, reportExtras } from "../shown.ts";
import { SharedParts } from "./shared-parts.ts";

/** How the attempts of an evaluation are made. */
export interface RunAttempts {
  readonly planned: readonly Planned[];
  /** Lines of attempts made earlier, by which the time left is estimated. */
  readonly before: readonly AttemptLine[];
  /** See `AttemptLine.plan`. */
  readonly plan: string;
  /** In the reports of single attempts. */
  readonly shown: Shown;
}

/**
 * Makes the attempts in order. Each runs in a folder of its own; its line is written when all else of it is on the disk, so a process that
 * dies loses the attempt under way and nothing more. One that was cut off is begun anew.
 * @throws what an attempt throws, with its name said before; AbortError
 */
export async function runAttempts(
  context: Context,
  folder: EvaluationFolder,
  { planned, before, plan, shown }: RunAttempts,
): Promise<void> {
  if (planned.length === 0) return;
  const lines = [...before];
  const parts = new SharedParts();
  const originals = new Map<string, DrawnPicture>();
  const flags = globalFlags(context.options);
  const log = folder.openLog();
  try {
    const bases = await drawBases(context, folder, planned, parts, shown);
    for (const [i, { cell, attempt, notAttackable }] of planned.entries()) {
      context.signal.throwIfAborted();
      if (notAttackable !== undefined) {
        const line = notAttackableLine(cell, attempt, notAttackable, { plan, flags });
        context.say(`attempt ${i + 1} of ${planned.length}: ${attempt.id} cannot be attacked: ${notAttackable}`);
        log.write(formatJsonLine(line));
        continue;
      }
      const out = join(folder.path, attemptFolder(attempt.id));
      const left = remaining(planned.slice(i), lines);
      context.say(
        `attempt ${i + 1} of ${planned.length}${left === undefined ? "" : ` (about ${formatDuration(left)} left)`}: ${attempt.id}, ` +
          `${quoted(attempt.settings.prompt)}, seed ${attempt.settings.seed}`,
      );
      await rm(out, { recursive: true, force: true }); // what a killed process left of it
      const extras = reportExtras(shown, cell);
      const prepared = await prepareRun(context, newRun(attempt.settings, out, extras), parts);
      // Every attacker starts from the same picture: the first that needs it draws it for all.
      if (planned[i - 1]?.cell.checkpoint !== cell.checkpoint) originals.clear();
      const original = `${cell.concept}/${attempt.case}`;
      const drawn = originals.get(original);
      const { result } = await runPrepared(context, { ...prepared, drawn }, { onDrawn: (picture) => originals.set(original, picture) });
      const { files } = prepared.record;
      const base = bases.get(baseKey(cell.concept, attempt.case));
      const line = await finishedLine(cell, attempt, result!, {
        plan, flags, folder: out, files, base: attempt.base && base, before: drawn?.milliseconds ?? 0,
      });
      log.write(formatJsonLine(line));
      lines.push(line);
    }
  } finally {
    log.close();
    await parts.close();
  }
}

/**
 * Seconds that attempts will take, by the mean of those with the same attacker, where there is none by the mean of all; undefined before
 * the first.
 */
function remaining(planned: readonly Planned[], done: readonly AttemptLine[]): number | undefined {
  if (done.length === 0) return undefined;
  const mean = (lines: readonly AttemptLine[]): number => lines.reduce((sum, line) => sum + line.ms.total, 0) / lines.length / 1000;
  const all = mean(done);
  return planned.reduce((sum, { cell }) => {
    const same = done.filter((line) => line.attacker === cell.attacker);
    return sum + (same.length > 0 ? mean(same) : all);
  }, 0);
}
