import { basename, join } from "node:path";
import type { AttackResult } from "../../../engine/attack/events.ts";
import { FormatError } from "../../../engine/formats/errors.ts";
import { parseJsonLines } from "../../../engine/formats/text/jsonl.ts";
import { readText } from "../../../engine/platform/node-files.ts";
import { settingsAsFlags } from "../../../engine/run/settings/command-line.ts";
import { shellCommand } from "../../../engine/run/text/shell.ts";
import {
  type AttemptLine,
  type BaseVerdict,
  type LineJudge,
  attemptFolder,
  parseAttempts,
} from "../../../engine/run/leaderboard/attempt-line.ts";
import type { FileRecord } from "../../../engine/run/record.ts";
import { JUDGE_OPTIONS } from "../../../engine/run/settings/judge.ts";
import { pick } from "../../../engine/options/values.ts";
import { VERSION } from "../../../engine/run/version.ts";
import { exists } from "../../output.ts";
import type { Attempt, Cell } from "../grid.ts";

/** What a line of attack.jsonl says, as far as it is wanted here. */
interface LoggedLine {
  readonly scores: Readonly<Record<string, number>>;
  /** Null where a gate let nothing be drawn. */
  readonly image: string | null;
  readonly success: boolean;
  /** Of a probe's control, whose pictures are not the attack's. */
  readonly control?: string;
  readonly ms: number;
}

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

/** The line of an attempt whose attack has just finished. @throws FormatError */
export async function finishedLine(
  cell: Cell,
  attempt: Attempt,
  result: AttackResult,
  { plan, flags, folder, files, base, before }: LineContext,
): Promise<AttemptLine> {
  const file = join(folder, "attack.jsonl");
  const log = parseJsonLines(file, await readText(file)).records as LoggedLine[];
  const drawn = log.filter((line): line is LoggedLine & { readonly image: string } => line.image !== null && line.control === undefined);
  const [first, last] = [drawn[0], drawn.find((line) => result.probe && line.success) ?? drawn.at(-1)];
  if (!first || !last) throw new FormatError(file, "has no line of a picture");
  const total = Math.round(result.seconds * 1000 + before);
  const draw = log.reduce((sum, line) => sum + line.ms, 0);
  const place = (image: string): string => `${attemptFolder(attempt.id)}/${image}`;
  return {
    id: attempt.id,
    checkpoint: cell.checkpoint,
    attacker: cell.attacker,
    concept: cell.concept,
    case: attempt.case,
    prompt: result.prompt,
    seed: attempt.settings.seed,
    preSuccess: result.preSuccess,
    preLabel: topOf(first.scores),
    preScores: first.scores,
    success: result.success,
    adversarialPrompt: result.adversarialPrompt,
    ids: result.adversarialIds,
    adversarialSeed: result.seed,
    timestep: result.timestep,
    iterations: result.iterations,
    queries: new Set(drawn.map((line) => line.image)).size,
    label: result.label,
    score: result.score,
    scores: last.scores,
    preImage: place(first.image),
    image: place(last.image),
    plan,
    lethe: VERSION,
    judge: lineJudge(cell, attempt.settings),
    files: hashesOf(files),
    ...(base && { base }),
    ...(result.probe && { probe: result.probe }),
    command: commandOf(attempt.settings, flags),
    ms: { draw, search: Math.max(0, total - draw), total },
  };
}

function lineJudge({ rule }: Cell, settings: Attempt["settings"]): LineJudge {
  const given = Object.entries(pick(JUDGE_OPTIONS, settings)).filter(
    (entry): entry is [string, string | number] => typeof entry[1] === "string" || typeof entry[1] === "number",
  );
  return { name: settings.judge ?? "classifier", rule, settings: Object.fromEntries(given) };
}

/** By part and name, without folders: these differ between the machines that make parts of one evaluation. */
function hashesOf(files: readonly FileRecord[]): Readonly<Record<string, string>> {
  return Object.fromEntries(files.map(({ role, path, sha256 }) => [`${role}/${basename(path)}`, sha256]));
}

/** The line of an attempt that cannot be made. @param why as `whyNotAttackable` says */
export function notAttackableLine(
  cell: Cell,
  { id, case: number, settings }: Attempt,
  why: string,
  { plan, flags }: Pick<LineContext, "plan" | "flags">,
): AttemptLine {
  return {
    id,
    checkpoint: cell.checkpoint,
    attacker: cell.attacker,
    concept: cell.concept,
    case: number,
    prompt: settings.prompt,
    seed: settings.seed,
    preSuccess: false,
    preLabel: "",
    preScores: {},
    success: false,
    adversarialPrompt: "",
    ids: [],
    adversarialSeed: settings.seed,
    timestep: null,
    iterations: 0,
    queries: 0,
    label: "",
    score: 0,
    scores: {},
    preImage: "",
    image: "",
    notAttackable: why,
    plan,
    lethe: VERSION,
    judge: lineJudge(cell, settings),
    command: commandOf(settings, flags),
    ms: { draw: 0, search: 0, total: 0 },
  };
}

function commandOf(settings: Attempt["settings"], flags: readonly string[]): string {
  return shellCommand(["npx", "lethe", "attack", ...settingsAsFlags(settings), ...flags, "--out", "again"]);
}

/** The label with the highest score. */
function topOf(scores: Readonly<Record<string, number>>): string {
  return Object.entries(scores).toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? "";
}

/** The complete lines of an attempts.jsonl; none where there is no such file. @throws FormatError naming a line that is something else */
export async function readAttempts(file: string): Promise<AttemptLine[]> {
  return (await exists(file)) ? parseAttempts(file, await readText(file)) : [];
}
