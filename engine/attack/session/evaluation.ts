import type { Judgement } from "../judges/judgement.ts";

/** How a gate judged a prompt: mean errors under it and under the original prompt. */
export interface GateVerdict {
  readonly error: number;
  readonly baseline: number;
  readonly passed: boolean;
}

/** One evaluated prompt: what a line of attack.jsonl holds, less the picture's file name. */
export interface Evaluation {
  /**
   * The timestep whose iterations came before; for cce the number of the round, for random, seed-search and transfer of the try, from 0; -1
   * for the original prompt.
   */
  readonly timestep: number;
  /** Gradient iterations (or tries) done so far. */
  readonly iteration: number;
  /**
   * Ids of the evaluated prompt without framing and padding, after decoding and tokenizing again; the vocabulary's size for a learned word.
   */
  readonly ids: readonly number[];
  readonly prompt: string;
  /** Mean loss of the iterations since the last evaluation; null where there were none. */
  readonly loss: number | null;
  readonly seed: number;
  readonly judgement: Judgement;
  /** Time to draw and judge it. */
  readonly milliseconds: number;
  /** Universal: which of the cases, from 0. */
  readonly case?: number;
  /** Which of several searches side by side, from 0. */
  readonly restart?: number;
  /** What the gate said. Not passed: nothing was drawn, and the judgement is empty. */
  readonly gate?: GateVerdict;
  /**
   * The picture was drawn with this few steps. The judgement's `success` is false whatever the judge said, which is `passed`; if so, the
   * full picture follows.
   */
  readonly screening?: { readonly steps: number; readonly passed: boolean };
  /** Of a prompt that drew the concept: why its text cannot be handed on so that others get the same tokens. Absent if it can. */
  readonly notPortable?: string;
  /** Of a control of a probe: which. Its successes are not the attack's. */
  readonly control?: string;
  /** Of a probe and its controls: what the try was made with, and what was measured of it. */
  readonly probe?: Readonly<Record<string, number | string>>;
  /** True if the prompt was the same as at the last evaluation, so that it was not drawn again. */
  readonly unchanged: boolean;
}

/** The evaluation that came before one of this case and search: its own last one, or the case's original prompt. */
export function previousOf<T extends Evaluation>(
  evaluations: readonly T[],
  { case: number = 0, restart }: Pick<Evaluation, "case" | "restart">,
): T | undefined {
  return evaluations.findLast((e) => (e.case ?? 0) === number && (e.timestep < 0 || e.restart === restart));
}
