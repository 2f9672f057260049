import { basename } from "node:path";
import type { AttackResult } from "../../../engine/attack/events.ts";
import { shellCommand } from "../../../engine/run/text/shell.ts";
import { type AttemptLine, type BaseVerdict, attemptFolder } from "../../../engine/run/leaderboard/attempt-line.ts";
import { type FileRecord, settingsAsFlags } from "../../../engine/run/record.ts";
import { JUDGE_OPTIONS } from "../../../engine/run/settings/judge.ts";
import { pick } from "../../../engine/options/values.ts";
import { VERSION } from "../../../engine/run/version.ts";
import { drawnLines, readLog } from "../folder.ts";
import type { Attempt, Cell } from "../grid.ts";

/** What a finished attempt's line needs besides its result. */
export interface LineContext {
  /** Of the evaluation: see `AttemptLine.plan`. */
  readonly plan: string;
  /** Global flags. */
  readonly flags: readonly string[];
  /** The attack's own folder. */
  readonly folder: string;
  readonly files: readonly FileRecord[];
  readonly base: BaseVerdict | undefined;
  /** Milliseconds that the original prompt's picture took in another run. */
  readonly before: number;
}

type Plan = Pick<LineContext, "plan" | "flags">;
type Outcome = Pick<
  AttemptLine,
  | "preSuccess" | "preLabel" | "preScores" | "success" | "adversarialPrompt" | "ids" | "adversarialSeed" | "timestep" | "iterations"
  | "queries" | "label" | "score" | "scores" | "preImage" | "image" | "notAttackable"
>;
type Made = Pick<AttemptLine, "files" | "base" | "probe">;

/** The line of an attempt whose attack has just finished. @throws FormatError */
export async function finishedLine(
  cell: Cell,
  attempt: Attempt,
  result: AttackResult,
  { plan, flags, folder, files, base, before }: LineContext,
): Promise<AttemptLine> {
  // A control's pictures are not the attack's.
  const drawn = (await drawnLines(folder)).filter((line) => line.control === undefined);
  const [first, last] = [drawn[0]!, (drawn.find((line) => result.probe && line.success) ?? drawn.at(-1))!];
  const total = Math.round(result.seconds * 1000 + before);
  const draw = (await readLog(folder)).reduce((sum, line) => sum + line.ms, 0);
  const place = (image: string): string => `${attemptFolder(attempt.id)}/${image}`;
  const { preSuccess, success, adversarialPrompt, adversarialIds: ids, timestep, iterations, label, score, probe } = result;
  const outcome: Outcome = {
    preSuccess, preLabel: topOf(first.scores), preScores: first.scores,
    success, adversarialPrompt, ids, adversarialSeed: result.seed, timestep, iterations,
    queries: new Set(drawn.map((line) => line.image)).size,
    label, score, scores: last.scores, preImage: place(first.image), image: place(last.image),
  };
  const made = { files: hashesOf(files), ...(base && { base }), ...(probe && { probe }) };
  return lineOf(cell, attempt, { plan, flags }, outcome, made, { draw, search: Math.max(0, total - draw), total });
}

/** The line of an attempt that cannot be made. @param notAttackable as `whyNotAttackable` says */
export function notAttackableLine(cell: Cell, attempt: Attempt, notAttackable: string, plan: Plan): AttemptLine {
  const nothing: Outcome = {
    preSuccess: false, preLabel: "", preScores: {}, success: false, adversarialPrompt: "", ids: [], adversarialSeed: attempt.settings.seed,
    timestep: null, iterations: 0, queries: 0, label: "", score: 0, scores: {}, preImage: "", image: "", notAttackable,
  };
  return lineOf(cell, attempt, plan, nothing, {}, { draw: 0, search: 0, total: 0 });
}

function lineOf(
  { checkpoint, attacker, concept, rule }: Cell,
  { id, case: number, settings }: Attempt,
  { plan, flags }: Plan,
  outcome: Outcome,
  made: Made,
  ms: AttemptLine["ms"],
): AttemptLine {
  const given = Object.entries(pick(JUDGE_OPTIONS, settings)).filter(
    (entry): entry is [string, string | number] => typeof entry[1] === "string" || typeof entry[1] === "number",
  );
  return {
    id, checkpoint, attacker, concept, case: number, prompt: settings.prompt, seed: settings.seed,
    ...outcome,
    plan,
    lethe: VERSION,
    judge: { name: settings.judge ?? "classifier", rule, settings: Object.fromEntries(given) },
    ...made,
    command: shellCommand(["npx", "lethe", "attack", ...settingsAsFlags(settings), ...flags, "--out", "again"]),
    ms,
  };
}

/** By part and name, without folders: these differ between the machines that make parts of one evaluation. */
function hashesOf(files: readonly FileRecord[]): Readonly<Record<string, string>> {
  return Object.fromEntries(files.map(({ role, path, sha256 }) => [`${role}/${basename(path)}`, sha256]));
}

/** The label with the highest score. */
function topOf(scores: Readonly<Record<string, number>>): string {
  return Object.entries(scores).toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? "";
}
