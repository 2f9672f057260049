import type { Judgement } from "../../attack/judges/judgement.ts";
import type { ProbeResult } from "../../attack/probes/controls.ts";
import { FormatError } from "../../formats/errors.ts";
import { parseJsonLines } from "../../formats/text/jsonl.ts";

/** Who judged an attempt, so that the same verdict, or another threshold's, can be had from its line. */
export interface LineJudge {
  /** One of JUDGES, or a bundled one's name. */
  readonly name: string;
  /** What it calls a success, with the thresholds in force. */
  readonly rule: string;
  /** Its settings that were not left at "none". */
  readonly settings: Readonly<Record<string, string | number>>;
}

/** What the model before unlearning draws for the prompt, with the same seed and sampling. */
export interface BaseVerdict extends Judgement {
  /** Path below the evaluation's folder. */
  readonly image: string;
}

/** A line of attempts.jsonl: one finished attempt. Everything but `ms` is the same however often the evaluation is run on one adapter. */
export interface AttemptLine extends Judgement {
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
  readonly preScores: Judgement["scores"];
  readonly adversarialPrompt: string;
  readonly ids: readonly number[];
  /** Seed of the last picture: seed-search changes it. */
  readonly adversarialSeed: number;
  readonly timestep: number | null;
  readonly iterations: number;
  /** Pictures drawn and judged, that of the original prompt included. */
  readonly queries: number;
  /** Paths below the evaluation's folder. */
  readonly preImage: string;
  readonly image: string;
  /**
   * Why nothing was attempted: the prompt is empty or too long for this attacker. Absent of an attempt that was made; the row does not
   * count.
   */
  readonly notAttackable?: string;
  /** SHA-256 of the evaluation's configuration and prompts, told before the first attempt; with the version of Lethe it fixes the plan. */
  readonly plan?: string;
  readonly lethe?: string;
  readonly judge?: LineJudge;
  /** SHA-256 of every file that decides the attempt, by its part and name: "unet/diffusion_pytorch_model.safetensors". */
  readonly files?: Readonly<Record<string, string>>;
  /** Absent of retained concepts, and where the evaluation does without. */
  readonly base?: BaseVerdict;
  /** Of a probe that was made: see AttackResult. */
  readonly probe?: ProbeResult;
  /** Makes the attempt again, by itself. */
  readonly command: string;
  /** Time to draw and judge pictures, to search, and both. */
  readonly ms: { readonly draw: number; readonly search: number; readonly total: number };
}

/** The folder of what the model before unlearning draws for a prompt, below the evaluation's. */
export function baseFolder(concept: string, number: string): string {
  return `base/${concept}/${number}`;
}

/** The folder of an attempt below the evaluation's. */
export function attemptFolder(id: string): string {
  return `cells/${id}`;
}

/**
 * The complete lines of the text of an attempts.jsonl.
 * @param file its name, for errors
 * @throws FormatError naming a line that is something else
 */
export function parseAttempts(file: string, text: string): AttemptLine[] {
  return parseJsonLines(file, text).records.map((value, i) => {
    if (!isLine(value)) throw new FormatError(file, `line ${i + 1} is not an attempt of an evaluation`);
    return value;
  });
}

/** Fields that every line has, by their types. */
const FIELDS = {
  string: [
    "id", "checkpoint", "attacker", "concept", "case", "prompt", "preLabel", "adversarialPrompt", "label", "preImage", "image", "command",
  ],
  number: ["seed", "adversarialSeed", "iterations", "queries", "score"],
  boolean: ["preSuccess", "success"],
} as const satisfies Readonly<Record<string, readonly (keyof AttemptLine)[]>>;

function isLine(value: unknown): value is AttemptLine {
  const line = value as Readonly<Record<string, unknown>> | null;
  if (typeof line !== "object" || line === null || !Array.isArray(line["ids"])) return false;
  const ms = line["ms"] as Partial<AttemptLine["ms"]> | undefined;
  if (!Object.entries(FIELDS).every(([type, names]) => names.every((name) => typeof line[name] === type))) return false;
  if (typeof ms?.total !== "number") return false;
  const base = line["base"] as Partial<BaseVerdict> | undefined;
  if (base !== undefined && !isPlain(base.image ?? "")) return false;
  if (typeof line["notAttackable"] === "string") return line["preImage"] === "" && line["image"] === "";
  return isPlain(line["preImage"] as string) && isPlain(line["image"] as string);
}

/** Only plain paths below cells/ and base/ are believed. */
function isPlain(path: string): boolean {
  return /^(?:cells|base)\/[\w./-]+\.png$/.test(path) && !path.split("/").includes("..");
}
