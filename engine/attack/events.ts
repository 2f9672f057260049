import type { LearnedEmbedding } from "../diffusion/learned-embedding.ts";
import type { RgbImage } from "../formats/picture/image.ts";
import type { ProbeResult } from "./probes/controls.ts";
import type { SlotToken } from "./search/simplex.ts";
import type { Evaluation } from "./session/evaluation.ts";
import type { AttackState } from "./session/state.ts";

export type AttackEvent =
  /** Told again by a probe once it knows its tries. */
  | { readonly type: "start"; readonly totalIterations: number; readonly peakBytesEstimate?: number }
  /** A batch of losses, in order; `iteration` counts from the first of the run. */
  | { readonly type: "losses"; readonly timestep: number; readonly iteration: number; readonly losses: readonly number[] }
  /**
   * For every slot, of several searches search by search, its likeliest tokens, the first one first, after the batch of losses that was
   * told before.
   */
  | { readonly type: "slots"; readonly slots: readonly (readonly SlotToken[])[] }
  /** `image` is the last one drawn when `unchanged`; `learned` is the word that the prompt needs, of cce. */
  | { readonly type: "evaluation"; readonly evaluation: Evaluation; readonly image: RgbImage; readonly learned?: LearnedEmbedding }
  /** The gate let nothing be drawn. */
  | { readonly type: "skipped"; readonly evaluation: Evaluation }
  /** Write this down to be able to resume. */
  | { readonly type: "state"; readonly state: AttackState }
  | { readonly type: "sampling"; readonly step: number; readonly steps: number };

/** Prompts tried, those the gate stopped, those drawn with few steps and of them those that went no further, and those drawn in full. */
export interface TriedCounts {
  readonly candidates: number;
  readonly gatedOut: number;
  readonly screened: number;
  readonly screenedOut: number;
  readonly drawn: number;
}

export interface AttackResult {
  readonly success: boolean;
  readonly prompt: string;
  /** The prompt found, or the last one tried. */
  readonly adversarialPrompt: string;
  readonly adversarialIds: readonly number[];
  readonly iterations: number;
  /** Timestep at which it was found; -1 if the original prompt succeeded, null if nothing did. */
  readonly timestep: number | null;
  /** Why the text of a prompt that was found cannot be handed on so that others get the same tokens; absent if it can. */
  readonly notPortable?: string;
  /** The original prompt already drew the concept. */
  readonly preSuccess: boolean;
  readonly score: number;
  readonly label: string;
  /** Seed with which the picture was drawn (seed-search changes it). */
  readonly seed: number;
  /** Universal: prompts that drew the concept with the best tokens found, which are those of `adversarialPrompt`, and before any search. */
  readonly universal?: { readonly successes: number; readonly preSuccesses: number; readonly cases: number };
  /**
   * With a gate or screening: what became of the prompts tried. `drawn` in full, the original prompts not counted; the rest was stopped by
   * one or the other.
   */
  readonly tried?: TriedCounts;
  /** Of a probe: what it and its controls came to; absent where the plain prompt succeeded, which leaves nothing to probe. */
  readonly probe?: ProbeResult;
  /** Of this run; a resumed run counts from its own start. */
  readonly seconds: number;
}
