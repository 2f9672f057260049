import type { Command } from "commander";
import { createHash } from "node:crypto";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import { readQuality } from "../evaluate/quality/results.ts";
import { cellStatistics } from "../../engine/run/leaderboard/statistics.ts";
import type { Manifest } from "../../engine/run/leaderboard/manifest.ts";
import { isHarmful } from "../../engine/run/redact.ts";
import { type Given } from "../../engine/options/option.ts";
import { pick } from "../../engine/options/values.ts";
import { JUDGE_OPTIONS, type JudgeSettings, ruleOf } from "../../engine/run/settings/judge.ts";
import { JUDGES } from "../../engine/attack/judges/options.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { type Context, action } from "../context.ts";
import { EvaluationFolder } from "../evaluate/folder.ts";
import { jsonBoard, terminalTables, writeTables } from "../evaluate/results/write-tables.ts";
import { type Shown, addShown } from "../shown.ts";
import { addNotes } from "../help/format.ts";
import { addOptions } from "../option-flags.ts";
import { exists, requireWritableFolder } from "../output.ts";
import { Verdicts } from "./verdicts.ts";

type JudgeFlags = Given<typeof JUDGE_OPTIONS>;

type RejudgeFlags = JudgeFlags & Pick<Shown, keyof Shown> & {
  readonly out?: string;
  readonly concept?: readonly string[];
};

export function rejudgeCommand(program: Command): void {
  const command = program
    .command("rejudge")
    .description("judge a finished evaluation again, with another threshold or another judge; nothing is drawn")
    .argument("<dir>", "folder of an evaluation");
  addNotes(
    command,
    "\nWhat is not given stays as it was. Another threshold, label or number of first choices of the same judge needs no device, " +
        "since the scores were kept. Another judge looks at the pictures again.\n" +
        `\nJudges:\n${Object.entries(JUDGES).map(([name, rule]) => `  ${name}: ${rule}`).join("\n")}`,
  );
  addOptions(command, JUDGE_OPTIONS)
    .option("--concept <name...>", "only these concepts; the others keep their verdicts")
    .option("--out <dir>", "write the evaluation as it is judged now into this folder: attempts.jsonl, tables, report and pictures");
  addShown(command).action(action<RejudgeFlags>((flags, context, dir) => run(flags, context, dir!)));
}

async function run(flags: RejudgeFlags, context: Context, dir: string): Promise<void> {
  const folder = new EvaluationFolder(dir);
  const manifest = await folder.requireManifest();
  const { concept: concepts, out } = flags;
  const attacked = manifest.cells.filter((cell) => !cell.retained);
  for (const name of concepts ?? []) {
    if (attacked.some((cell) => cell.concept === name)) continue;
    throw new UsageError(
      `--concept: there is no ${JSON.stringify(name)}; there are ${[...new Set(attacked.map((c) => c.concept))].join(", ")}`,
    );
  }
  const given = pick(JUDGE_OPTIONS, flags);
  if (Object.keys(given).length === 0) throw new UsageError("say how to judge: --judge NAME, --judge-threshold X, --label L, ...");
  if (out !== undefined) {
    await requireWritableFolder(out);
    if (await exists(join(out, "evaluation.json"))) throw new UsageError(`${out} holds an evaluation already: give another folder`);
  }
  const verdicts = new Verdicts(context, folder, given);
  const lines: AttemptLine[] = [];
  const judges = new Map<string, JudgeSettings>();
  let [changed, cutShort] = [0, 0];
  try {
    const chosen = new Set(attacked.filter((c) => concepts?.includes(c.concept) ?? true).map((c) => c.id));
    for (const line of await folder.attempts()) {
      context.signal.throwIfAborted();
      const cell = `${line.checkpoint}/${line.attacker}/${line.concept}`;
      if (!chosen.has(cell) || line.notAttackable !== undefined) {
        lines.push(line);
        continue;
      }
      const again = await verdicts.of(line);
      lines.push(again.line);
      judges.set(cell, again.settings);
      if (again.line.success !== line.success) changed++;
      if (again.cutShort) cutShort++;
    }
  } finally {
    await verdicts.close();
  }
  const judged = rejudgedManifest(manifest, judges);
  context.say(`${changed} of ${lines.length} attempts have another outcome`);
  if (cutShort > 0) {
    context.warn(
      `${cutShort} attempts ended at what the first judge called a success and this one does not: with this judge ` +
        "they would have gone on, " +
        "so their rates may be too low",
    );
  }
  const board = out === undefined ? undefined : await write(folder, out, judged, lines, flags, (line) => context.warn(line));
  const rows = cellStatistics(judged.cells, lines, await readQuality(dir, manifest.quality));
  const shown = board ?? { title: judged.name, rows, effects: [], probes: [], depths: [] };
  if (out !== undefined) context.report(join(out, "report.html"));
  context.result(
    { attempts: lines.length, changed, cutShort, ...(out !== undefined && { out }), ...jsonBoard(shown) },
    terminalTables(shown),
  );
}

/** The evaluation as it is judged now, under a hash of its own: it is another one. */
function rejudgedManifest(manifest: Manifest, judges: ReadonlyMap<string, JudgeSettings>): Manifest {
  const cells = manifest.cells.map((cell) => {
    const settings = judges.get(cell.id);
    if (!settings) return cell;
    const { harmful: _, ...rest } = cell;
    const harmful = cell.harmful === true || isHarmful(settings.judge);
    return { ...rest, label: settings.label ?? cell.label, rule: ruleOf(settings), ...(harmful && { harmful }) };
  });
  const sha256 = createHash("sha256").update(JSON.stringify([manifest.sha256, [...judges]])).digest("hex");
  return { ...manifest, sha256, name: `${manifest.name}, judged again`, cells };
}

async function write(
  from: EvaluationFolder,
  out: string,
  manifest: Manifest,
  lines: readonly AttemptLine[],
  flags: RejudgeFlags,
  warn: (line: string) => void,
): ReturnType<typeof writeTables> {
  const folder = new EvaluationFolder(out);
  await folder.claim(manifest);
  for (const name of ["cells", "base", "base.jsonl", "quality"]) {
    const path = join(from.path, name);
    if (await exists(path)) await cp(path, join(out, name), { recursive: true });
  }
  await folder.writeAttempts(lines);
  return writeTables(folder, manifest, lines, flags, warn);
}
