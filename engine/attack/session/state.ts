import { UsageError } from "../../runtime/errors.ts";
import { restoreRandom, saveRandom } from "../../runtime/random/portable.ts";
import type { Generator } from "../../runtime/random/random.ts";
import type { AttackerName } from "../attackers.ts";
import type { SearchState } from "../search/objective.ts";
import type { Evaluation } from "./evaluation.ts";

/**
 * All that is needed to go on where a run stopped. Arrays are empty for attackers without a gradient; those of hard-prompt and p4d are
 * [.., hidden], of cce the embedding [hidden].
 */
export interface AttackState extends SearchState {
  readonly attacker: AttackerName;
  /** Timesteps (or tries) finished, and iterations done. */
  readonly finished: number;
  readonly iteration: number;
  /** The search's random generator, as JSON; of several searches the list of theirs. */
  readonly random: unknown;
  /** What else the attacker goes on from, as JSON: of ring-a-bell its population, of timestep order "gradient" the timesteps. */
  readonly search?: unknown;
  /** Evaluations so far. */
  readonly evaluations: readonly Evaluation[];
}

/** The states of generators as JSON: of one its own, of several a list. */
export function saveRandoms(randoms: readonly Generator[]): unknown {
  return randoms.length === 1 ? saveRandom(randoms[0]!) : randoms.map(saveRandom);
}

/** The generators of `saveRandoms`. @throws UsageError unless there are `count` of them */
export function restoreRandoms(state: unknown, count: number): Generator[] {
  const states: readonly unknown[] = Array.isArray(state) ? state : [state];
  if (states.length !== count) {
    throw new UsageError(
      `the state to resume from is of ${states.length} searches side by side, not ${count}: resume with the same settings, or start the ` +
        "attack anew",
    );
  }
  return states.map(restoreRandom);
}
