import type { RgbImage } from "../formats/picture/image.ts";
import type { NDArray } from "../nn/array.ts";
import type { LearnedEmbedding } from "../diffusion/learned-embedding.ts";
import type { SchedulerName } from "../diffusion/schedulers/index.ts";
import type { LossKind, StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { ConceptPair } from "./search/concept-vector.ts";
import type { TransferCandidate } from "./transfer.ts";

/** How the prompt is searched. */
export const ATTACKERS = ["text-grad", "hard-prompt", "p4d", "cce", "ring-a-bell", "random", "seed-search", "transfer", "no-attack"] as const;
export type AttackerName = (typeof ATTACKERS)[number];

/** Whether an attacker follows a gradient: it needs a picture of the concept. */
export function usesGradient(attacker: AttackerName): boolean {
  return attacker === "cce" || attacker === "text-grad" || attacker === "hard-prompt" || attacker === "p4d";
}

/** Whether an attacker puts tokens into the prompt. */
export function insertsTokens(attacker: AttackerName): boolean {
  return attacker === "random" || (usesGradient(attacker) && attacker !== "cce");
}

/** Where the adversarial tokens go: the reference's prefix_k, suffix_k, mid_k, insert_k and per_k_words. */
export const INSERTIONS = ["prefix", "suffix", "middle", "interleave", "every-k"] as const;
export type Insertion = (typeof INSERTIONS)[number];

/** What a judge says of one picture. */
export interface Judgement {
  /** The concept was drawn. */
  readonly success: boolean;
  /** The judge's own label for the picture, and how sure it is of it. */
  readonly label: string;
  /** How sure it is of the concept asked for, 0 to 1. */
  readonly score: number;
  /** Everything needed to apply another rule later, e.g. the five most probable labels. */
  readonly scores: Readonly<Record<string, number>>;
}

/** A picture that was drawn and judged before. */
export interface DrawnPicture {
  readonly image: RgbImage;
  readonly judgement: Judgement;
  /** What that took. */
  readonly milliseconds: number;
}

/** Says whether the concept was drawn. */
export type Judge = (image: RgbImage) => Promise<Judgement>;

/** How pictures are drawn for the judge. Defaults are those of the published reference code. */
export interface SamplingOptions {
  /** Default 50. */
  readonly steps?: number;
  /**
   * Default "lms", as the reference builds it (linspace spacing, whatever the model's own file says: `noiseScheduleOnly`).
   * Any other is built as the field's pipeline does (`pipelineSchedulerConfig`).
   */
  readonly scheduler?: SchedulerName;
  /** Default 7.5. */
  readonly guidance?: number;
}

/** A prompt that names the concept, and what its pictures are drawn from. */
export interface AttackCase {
  readonly prompt: string;
  /** As `AttackOptions.target`. */
  readonly target?: NDArray;
  readonly seed: number;
  /** Default: that of the attack. */
  readonly guidance?: number;
}

/** In which order timesteps are attacked. */
export const TIMESTEP_ORDERS = ["sequence", "gradient"] as const;
export type TimestepOrder = (typeof TIMESTEP_ORDERS)[number];

/**
 * A prompt is drawn only if under it the attacked model predicts the noise in the target better than under the original prompt: its error, as the diffusion
 * classifier measures it (arXiv 2303.16203), is below (1 - margin) times the original prompt's.
 */
export interface GateOptions {
  /** Default 0. */
  readonly margin?: number;
  /** Timesteps, evenly spread, each with one noise that is the same for all prompts. Default 8. */
  readonly samples?: number;
}

/** How a gate judged a prompt: mean errors under it and under the original prompt. */
export interface GateVerdict {
  readonly error: number;
  readonly baseline: number;
  readonly passed: boolean;
}

export interface AttackOptions extends SamplingOptions {
  readonly attacker: AttackerName;
  readonly prompt: string;
  /** A picture of the concept, [1, 3, H, W] in [-1, 1]; needed by the attackers with a gradient. Its size is the size drawn. */
  readonly target?: NDArray;
  /**
   * Universal: one set of tokens for all of these instead of the one `prompt`, `target` and `seed`, which are then only names in the result.
   * The search sees them in turn, `casesPerStep` (default 1) in an iteration, whose loss is the mean; found tokens are judged on all, and succeed if all do.
   */
  readonly cases?: readonly AttackCase[];
  readonly casesPerStep?: number;
  /** Searches side by side in one batch, number r with the seed `attackSeed` + r; the one with the least loss is judged first. Default 1. */
  readonly restarts?: number;
  /** Neighbouring timesteps attacked together in one batch; the loss is their mean. Default 1. */
  readonly timestepsPerStep?: number;
  /** "gradient": the timesteps where the gradient is largest first, measured once before the search. Default "sequence". */
  readonly timestepOrder?: TimestepOrder;
  /** What a prompt must pass before it is drawn. Default: nothing. */
  readonly gate?: GateOptions;
  /** Prompts are first drawn with so few steps, and drawn in full only if the judge sees the concept there. Default: all are drawn in full. */
  readonly screeningSteps?: number;
  /** Prompts found elsewhere, in the order they are tried; needed by transfer only. */
  readonly candidates?: readonly TransferCandidate[];
  /** The model before unlearning; needed by p4d, on the same device. ring-a-bell takes its text encoder, or without it the attacked model's. */
  readonly original?: StableDiffusion;
  readonly judge: Judge;
  /** Seed of the pictures' noise. */
  readonly seed: number;
  /** Seed of the search's own randomness. Default 0, but for "random": without it, tokens are the ones the reference draws after the first picture of `seed`. */
  readonly attackSeed?: number;
  /** Adversarial tokens. Default 3; of ring-a-bell, whose tokens are the whole prompt, 16. */
  readonly tokens?: number;
  /** Where they go. Default "prefix". */
  readonly insert?: Insertion;
  /** Gradient steps at each timestep. Default 40. */
  readonly iterations?: number;
  /** Timesteps the schedule is divided into; they are taken in order from the least noisy. Default 50. */
  readonly timesteps?: number;
  /** Stop after this many of them. Default: all. For random, seed-search and transfer: how many tries; default: `iterations`, as the reference, of transfer all candidates, of ring-a-bell 1. */
  readonly maxTimesteps?: number;
  /** Default 0.01. */
  readonly learningRate?: number;
  /** L2 form. Default 0.1. */
  readonly weightDecay?: number;
  /** Default "mse". */
  readonly loss?: LossKind;
  /** Start from random rows instead of every token alike (the reference's `rand_init`). Default false. */
  readonly randomInit?: boolean;
  /** "reference": the original's bisection instead of the exact projection. Default "exact". */
  readonly projection?: "exact" | "reference";
  /** CCE: the prompt that the word `<cce>` is learned and judged in. Default "a picture of <cce>", for a thing; "a picture of a house in <cce> style" suits a style. */
  readonly learnedPrompt?: string;
  /** Ring-a-bell: prompts with the concept and without; needed by it only. */
  readonly conceptPairs?: readonly ConceptPair[];
  /** Ring-a-bell: how many concept vectors the prompt's encoding is moved by. Default 3. */
  readonly eta?: number;
  /** Ring-a-bell: token lists in a generation, and generations. Default 200 and 3000. */
  readonly population?: number;
  readonly generations?: number;
  /** Ring-a-bell: probability that a list has a token exchanged, and that a parent has children. Default 0.25 and 0.5. */
  readonly mutationRate?: number;
  readonly crossoverRate?: number;
  /** The original prompt's picture, where an attack on the same model with the same seed, sampling and judge has drawn it: it is not drawn again. */
  readonly drawn?: DrawnPicture;
  /** Also tell, with every batch of losses, what the slots hold; it changes nothing in the search. Of attackers that follow a gradient to tokens. Default false. */
  readonly watchSlots?: boolean;
  /** Where an earlier run stood. */
  readonly resume?: AttackState;
  /** Stops the search after the work under way; the attack then rejects with an AbortError and the last state given out is good. */
  readonly signal?: AbortSignal;
}

/** A token that a slot may come to hold, and its share of the slot's probability, 0 to 1; of a slot that stands for its nearest token, that one and 1. */
export interface SlotToken {
  readonly id: number;
  readonly share: number;
}

/** One evaluated prompt: what a line of attack.jsonl holds, less the picture's file name. */
export interface Evaluation {
  /** The timestep whose iterations came before; for cce the number of the round, for random, seed-search and transfer of the try, from 0; -1 for the original prompt. */
  readonly timestep: number;
  /** Gradient iterations (or tries) done so far. */
  readonly iteration: number;
  /** Ids of the evaluated prompt without framing and padding, after decoding and tokenizing again; the vocabulary's size for a learned word. */
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
  /** The picture was drawn with this few steps. The judgement's `success` is false whatever the judge said, which is `passed`; if so, the full picture follows. */
  readonly screening?: { readonly steps: number; readonly passed: boolean };
  /** True if the prompt was the same as at the last evaluation, so that it was not drawn again. */
  readonly unchanged: boolean;
}

export type AttackEvent =
  | { readonly type: "start"; readonly totalIterations: number; readonly peakBytesEstimate?: number }
  /** A batch of losses, in order; `iteration` counts from the first of the run. */
  | { readonly type: "losses"; readonly timestep: number; readonly iteration: number; readonly losses: readonly number[] }
  /** For every slot, of several searches search by search, its likeliest tokens, the first one first, after the batch of losses that was told before. */
  | { readonly type: "slots"; readonly slots: readonly (readonly SlotToken[])[] }
  /** `image` is the last one drawn when `unchanged`; `learned` is the word that the prompt needs, of cce. */
  | { readonly type: "evaluation"; readonly evaluation: Evaluation; readonly image: RgbImage; readonly learned?: LearnedEmbedding }
  /** The gate let nothing be drawn. */
  | { readonly type: "skipped"; readonly evaluation: Evaluation }
  /** Write this down to be able to resume. */
  | { readonly type: "state"; readonly state: AttackState }
  | { readonly type: "sampling"; readonly step: number; readonly steps: number };

/** All that is needed to go on where a run stopped. Arrays are empty for attackers without a gradient. */
export interface AttackState {
  readonly attacker: AttackerName;
  /** Timesteps (or tries) finished, and iterations done. */
  readonly finished: number;
  readonly iteration: number;
  /** The rows and Adam's moments, [restarts * tokens, vocabulary] each; of hard-prompt and p4d [.., hidden], of cce the embedding [hidden]. */
  readonly simplex: Float32Array<ArrayBuffer>;
  readonly firstMoment: Float32Array<ArrayBuffer>;
  readonly secondMoment: Float32Array<ArrayBuffer>;
  /** The search's random generator, as JSON; of several searches the list of theirs. */
  readonly random: unknown;
  /** What else the attacker goes on from, as JSON: of ring-a-bell its population, of timestep order "gradient" the timesteps. */
  readonly search?: unknown;
  /** Evaluations so far. */
  readonly evaluations: readonly Evaluation[];
}

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
  /** The original prompt already drew the concept. */
  readonly preSuccess: boolean;
  readonly score: number;
  readonly label: string;
  /** Seed with which the picture was drawn (seed-search changes it). */
  readonly seed: number;
  /** Universal: prompts that drew the concept with the best tokens found, which are those of `adversarialPrompt`, and before any search. */
  readonly universal?: { readonly successes: number; readonly preSuccesses: number; readonly cases: number };
  /** With a gate or screening: what became of the prompts tried. `drawn` in full, the original prompts not counted; the rest was stopped by one or the other. */
  readonly tried?: TriedCounts;
  /** Of this run; a resumed run counts from its own start. */
  readonly seconds: number;
}
