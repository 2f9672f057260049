import type { Evaluation } from "../attack/session/evaluation.ts";

/** An evaluation with its picture's place in the folder, as attack.jsonl and the report have it. */
export interface LoggedEvaluation extends Evaluation {
  /** Path below the run's folder, with "/"; null if nothing was drawn. */
  readonly image: string | null;
}

/** A line of attack.jsonl: what every line has, and then what only some runs' lines have (docs/attacks.md). */
export function logLine({
  timestep,
  iteration,
  ids,
  prompt,
  loss,
  seed,
  judgement,
  image,
  milliseconds,
  case: number,
  restart,
  gate,
  screening,
  notPortable,
  control,
  probe,
}: LoggedEvaluation): object {
  return {
    timestep,
    iteration,
    ids,
    prompt,
    loss,
    seed,
    scores: judgement.scores,
    success: judgement.success,
    image,
    ms: Math.round(milliseconds),
    ...withoutUndefined({ case: number, restart, gate, screening, notPortable, control, probe }),
  };
}

function withoutUndefined(fields: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
