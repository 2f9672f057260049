import { join } from "node:path";
import type { AttackResult } from "../../engine/attack/events.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { parseJsonLines } from "../../engine/formats/text/jsonl.ts";
import { readText } from "../../engine/platform/node-files.ts";
import { settingsAsFlags } from "../../engine/run/settings.ts";
import { shellCommand } from "../../engine/run/shell.ts";
import { exists } from "../output.ts";
import type { Attempt, Cell } from "./grid.ts";

/** A line of attempts.jsonl: one finished attempt. Everything but `ms` is the same however often the evaluation is run on one adapter. */
export interface AttemptLine {
  readonly id: string;
  readonly checkpoint: string;
  readonly attacker: string;
  readonly concept: string;
  readonly case: string;
  readonly prompt: string;
  /** Seed of the original prompt's picture. */
  readonly seed: number;
  readonly preSuccess: boolean;
  readonly preLabel: string;
  readonly preScores: Readonly<Record<string, number>>;
  readonly success: boolean;
  readonly adversarialPrompt: string;
  readonly ids: readonly number[];
  /** Seed of the last picture: seed-search changes it. */
  readonly adversarialSeed: number;
  readonly timestep: number | null;
  readonly iterations: number;
  /** Pictures drawn and judged, that of the original prompt included. */
  readonly queries: number;
  readonly label: string;
  readonly score: number;
  readonly scores: Readonly<Record<string, number>>;
  /** Paths below the evaluation's folder. */
  readonly preImage: string;
  readonly image: string;
  /** Makes the attempt again, by itself. */
  readonly command: string;
  /** Time to draw and judge pictures, to search, and both. */
  readonly ms: { readonly draw: number; readonly search: number; readonly total: number };
}

/** What a line of attack.jsonl says, as far as it is wanted here. */
interface LoggedLine {
  readonly scores: Readonly<Record<string, number>>;
  /** Null where a gate let nothing be drawn. */
  readonly image: string | null;
  readonly ms: number;
}

/** The folder of an attempt below the evaluation's. */
export function attemptFolder(id: string): string {
  return `cells/${id}`;
}

/** The line of an attempt whose attack has just finished. @param folder the attack's own @param before milliseconds that the original prompt's picture took in another run @param flags global ones @throws FormatError */
export async function finishedLine(cell: Cell, attempt: Attempt, result: AttackResult, folder: string, before: number, flags: readonly string[]): Promise<AttemptLine> {
  const file = join(folder, "attack.jsonl");
  const log = parseJsonLines(file, await readText(file)).records as LoggedLine[];
  const drawn = log.filter((line): line is LoggedLine & { readonly image: string } => line.image !== null);
  const [first, last] = [drawn[0], drawn.at(-1)];
  if (!first || !last) throw new FormatError(file, "has no line of a picture");
  const total = Math.round(result.seconds * 1000 + before);
  const draw = log.reduce((sum, line) => sum + line.ms, 0);
  const place = (image: string): string => `${attemptFolder(attempt.id)}/${image}`;
  return {
    id: attempt.id, checkpoint: cell.checkpoint, attacker: cell.attacker, concept: cell.concept, case: attempt.case,
    prompt: result.prompt, seed: attempt.settings.seed, preSuccess: result.preSuccess, preLabel: topOf(first.scores), preScores: first.scores,
    success: result.success, adversarialPrompt: result.adversarialPrompt, ids: result.adversarialIds, adversarialSeed: result.seed,
    timestep: result.timestep, iterations: result.iterations, queries: new Set(drawn.map((line) => line.image)).size,
    label: result.label, score: result.score, scores: last.scores, preImage: place(first.image), image: place(last.image),
    command: shellCommand(["npx", "lethe", "attack", ...settingsAsFlags(attempt.settings), ...flags, "--out", "again"]),
    ms: { draw, search: Math.max(0, total - draw), total },
  };
}

/** The label with the highest score. */
function topOf(scores: Readonly<Record<string, number>>): string {
  return Object.entries(scores).toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? "";
}

/** The complete lines of an attempts.jsonl; none where there is no such file. @throws FormatError naming a line that is something else */
export async function readAttempts(file: string): Promise<AttemptLine[]> {
  if (!(await exists(file))) return [];
  return parseJsonLines(file, await readText(file)).records.map((value, i) => {
    if (!isLine(value)) throw new FormatError(file, `line ${i + 1} is no attempt of an evaluation`);
    return value;
  });
}

const SAMPLE = {
  id: "", checkpoint: "", attacker: "", concept: "", case: "", prompt: "", seed: 0, preSuccess: true, preLabel: "", success: true, adversarialPrompt: "",
  adversarialSeed: 0, iterations: 0, queries: 0, label: "", score: 0, preImage: "", image: "", command: "",
} satisfies Partial<AttemptLine>;

function isLine(value: unknown): value is AttemptLine {
  const line = value as Readonly<Record<string, unknown>> | null;
  if (typeof line !== "object" || line === null || !Array.isArray(line["ids"])) return false;
  const ms = line["ms"] as Partial<AttemptLine["ms"]> | undefined;
  return Object.entries(SAMPLE).every(([key, sample]) => typeof line[key] === typeof sample) && typeof ms?.total === "number" && isPlain(line["preImage"] as string) && isPlain(line["image"] as string);
}

/** Only plain paths below cells/ are believed. */
function isPlain(path: string): boolean {
  return /^cells\/[\w./-]+\.png$/.test(path) && !path.split("/").includes("..");
}
