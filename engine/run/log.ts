import type { Judgement } from "../attack/judges/judgement.ts";
import type { Evaluation } from "../attack/session/evaluation.ts";

/** An evaluation with its picture's place in the folder, as attack.jsonl and the report have it. */
export interface LoggedEvaluation extends Evaluation {
  /** Path below the run's folder, with "/"; null if nothing was drawn. */
  readonly image: string | null;
}

/** A line of attack.jsonl: what every line has, and then what only some runs' lines have (docs/attacks.md). */
export interface LogLine extends Omit<LoggedEvaluation, "judgement" | "milliseconds" | "unchanged"> {
  readonly scores: Judgement["scores"];
  readonly success: boolean;
  readonly ms: number;
}

/** A line whose picture was drawn. */
export type DrawnLine = LogLine & { readonly image: string };

/** The line of an evaluation. Absent fields of some runs are left out when it is written. */
export function logLine({ judgement: { scores, success }, milliseconds, ...evaluation }: LoggedEvaluation): LogLine {
  const { timestep, iteration, ids, prompt, loss, seed, image, ...only } = evaluation;
  const { case: number, restart, gate, screening, notPortable, control, probe } = only;
  const ms = Math.round(milliseconds);
  const some = { case: number, restart, gate, screening, notPortable, control, probe };
  return { timestep, iteration, ids, prompt, loss, seed, scores, success, image, ms, ...some } as LogLine;
}
