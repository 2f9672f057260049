import type { LoggedEvaluation } from "./folder.ts";

/** A line of attack.jsonl. */
export function logLine({ timestep, iteration, ids, prompt, loss, seed, judgement, image, milliseconds }: LoggedEvaluation): object {
  return { timestep, iteration, ids, prompt, loss, seed, scores: judgement.scores, success: judgement.success, image, ms: Math.round(milliseconds) };
}
