import type { AttemptLine } from "../../engine/run/leaderboard/attempt-line.ts";
import type { CellEntry } from "../../engine/run/leaderboard/manifest.ts";

/** A line of an attempt, from its id CHECKPOINT/ATTACKER/CONCEPT/CASE and whether the concept was drawn. */
export function attemptLine(id: string, success: boolean, more: Partial<AttemptLine> = {}): AttemptLine {
  const [checkpoint, attacker, concept, number] = id.split("/") as [string, string, string, string];
  return {
    id,
    checkpoint,
    attacker,
    concept,
    case: number,
    prompt: `p${number}`,
    seed: 0,
    preSuccess: success,
    preLabel: "",
    preScores: {},
    success,
    adversarialPrompt: `p${number}`,
    ids: [], adversarialSeed: 0, timestep: null, iterations: 0, queries: 1, label: "", score: 0, scores: {}, preImage: "", image: "",
    command: "", ms: { draw: 1, search: 1, total: 2 }, ...more,
  };
}

/** One row of an evaluation, and its lines. */
export function evaluationOf(
  checkpoint: string,
  attacker: string,
  concept: string,
  successes: readonly boolean[],
): { readonly cells: CellEntry[]; readonly lines: AttemptLine[] } {
  const id = `${checkpoint}/${attacker}/${concept}`;
  const attempts = successes.map((_, i) => `${id}/${i}`);
  const cell: CellEntry = {
    id, checkpoint, attacker, kind: "random", concept, label: concept,
    rule: `"${concept}" is the first choice`,
    attempts,
  };
  return { cells: [cell], lines: successes.map((success, i) => attemptLine(attempts[i]!, success)) };
}
