import { rm } from "node:fs/promises";
import { join } from "node:path";
import { FormatError } from "../../engine/formats/errors.ts";
import { formatJsonLine, parseJsonLines } from "../../engine/formats/text/jsonl.ts";
import { readText } from "../../engine/platform/node-files.ts";
import { type BaseVerdict, baseFolder } from "../../engine/run/leaderboard/attempt-line.ts";
import type { DrawnLine } from "../../engine/run/log.ts";
import { newRun } from "../attack/begin.ts";
import { prepareRun } from "../attack/prepare.ts";
import { runPrepared } from "../attack/run.ts";
import type { Context } from "../context.ts";
import { type Shown, reportExtras } from "../shown.ts";
import { exists } from "../output.ts";
import { type EvaluationFolder, drawnLines } from "./folder.ts";
import type { Planned } from "./grid.ts";
import type { SharedParts } from "./shared-parts.ts";

/** A line of base.jsonl. */
export interface BaseLine extends BaseVerdict {
  readonly concept: string;
  readonly case: string;
}

/** Verdicts by concept and case. */
export type BaseVerdicts = ReadonlyMap<string, BaseVerdict>;

export function baseKey(concept: string, number: string): string {
  return `${concept}/${number}`;
}

/** The complete lines of a base.jsonl; none where there is no such file. @throws FormatError naming a line that is something else */
export async function readBases(file: string): Promise<BaseLine[]> {
  if (!(await exists(file))) return [];
  return parseJsonLines(file, await readText(file)).records.map((value, i) => {
    const line = value as Partial<BaseLine> | null;
    if (typeof line?.concept !== "string" || typeof line.case !== "string" || typeof line.success !== "boolean") {
      throw new FormatError(file, `line ${i + 1} is not a verdict on the model before unlearning`);
    }
    return line as BaseLine;
  });
}

/**
 * Has the model before unlearning draw every prompt that is planned, each once for all checkpoints and attackers, in a folder of its own
 * below base/. What an earlier run has drawn is not drawn again.
 * @throws what a run throws; AbortError
 */
export async function drawBases(
  context: Context,
  folder: EvaluationFolder,
  planned: readonly Planned[],
  parts: SharedParts,
  shown: Shown,
): Promise<BaseVerdicts> {
  const verdicts = new Map<string, BaseVerdict>();
  for (const { concept, case: number, ...verdict } of await readBases(folder.basesFile)) verdicts.set(baseKey(concept, number), verdict);
  const wanted = new Map<string, Planned>();
  for (const one of planned) {
    const key = baseKey(one.cell.concept, one.attempt.case);
    if (one.attempt.base && one.notAttackable === undefined && !verdicts.has(key) && !wanted.has(key)) wanted.set(key, one);
  }
  if (wanted.size === 0) return verdicts;
  context.say(`the model before unlearning draws ${wanted.size === 1 ? "1 prompt" : `${wanted.size} prompts`}`);
  const log = folder.openBases();
  try {
    for (const [key, { cell, attempt }] of wanted) {
      context.signal.throwIfAborted();
      const below = baseFolder(cell.concept, attempt.case);
      const out = join(folder.path, below);
      await rm(out, { recursive: true, force: true }); // what a killed process left of it
      const prepared = await prepareRun(context, newRun(attempt.base!, out, reportExtras(shown, cell)), parts);
      const { result } = await runPrepared(context, prepared);
      const [{ success, scores, image }] = (await drawnLines(out)) as [DrawnLine]; // without an attack there is one
      const verdict: BaseVerdict = { success, label: result!.label, score: result!.score, scores, image: `${below}/${image}` };
      log.write(formatJsonLine({ concept: cell.concept, case: attempt.case, ...verdict } satisfies BaseLine));
      verdicts.set(key, verdict);
    }
  } finally {
    log.close();
  }
  return verdicts;
}
