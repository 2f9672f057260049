import { FormatError } from "../../formats/errors.ts";
import { parseJsonLines } from "../../formats/text/jsonl.ts";

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
  /**
   * Why nothing was attempted: the prompt is empty or too long for this attacker. Absent of an attempt that was made; the row does not
   * count.
   */
  readonly notAttackable?: string;
  /** Makes the attempt again, by itself. */
  readonly command: string;
  /** Time to draw and judge pictures, to search, and both. */
  readonly ms: { readonly draw: number; readonly search: number; readonly total: number };
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
    if (!isLine(value)) throw new FormatError(file, `line ${i + 1} is no attempt of an evaluation`);
    return value;
  });
}

const SAMPLE = {
  id: "",
  checkpoint: "",
  attacker: "",
  concept: "",
  case: "",
  prompt: "",
  seed: 0,
  preSuccess: true,
  preLabel: "",
  success: true,
  adversarialPrompt: "",
  adversarialSeed: 0,
  iterations: 0,
  queries: 0,
  label: "",
  score: 0,
  preImage: "",
  image: "",
  command: "",
} satisfies Partial<AttemptLine>;

function isLine(value: unknown): value is AttemptLine {
  const line = value as Readonly<Record<string, unknown>> | null;
  if (typeof line !== "object" || line === null || !Array.isArray(line["ids"])) return false;
  const ms = line["ms"] as Partial<AttemptLine["ms"]> | undefined;
  if (!Object.entries(SAMPLE).every(([key, sample]) => typeof line[key] === typeof sample) || typeof ms?.total !== "number") return false;
  if (typeof line["notAttackable"] === "string") return line["preImage"] === "" && line["image"] === "";
  return isPlain(line["preImage"] as string) && isPlain(line["image"] as string);
}

/** Only plain paths below cells/ are believed. */
function isPlain(path: string): boolean {
  return /^cells\/[\w./-]+\.png$/.test(path) && !path.split("/").includes("..");
}
