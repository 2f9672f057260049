import type { RgbImage } from "../formats/picture/image.ts";
import type { SchedulerName } from "../diffusion/schedulers/index.ts";
import type { LossKind, StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { NDArray } from "../nn/array.ts";
import type { AttackerName } from "./attackers.ts";
import type { Judge, Judgement } from "./judges/judgement.ts";
import type { ConceptPair } from "./search/concept-vector.ts";
import type { Insertion } from "./search/slot-layout.ts";
import type { Vocabulary } from "./search/vocabulary.ts";
import type { AttackState } from "./session/state.ts";

/** The word that `cce` learns, and the prompt it is learned and judged in unless another is given: a template of textual inversion (arXiv 2208.01618). */
export const LEARNED_WORD = "<cce>";
export const LEARNED_PROMPT = `a picture of ${LEARNED_WORD}`;

/** A prompt found elsewhere, and the seed it was found with. */
export interface TransferCandidate {
  readonly prompt: string;
  readonly seed: number;
}

/** A picture that was drawn and judged before. */
export interface DrawnPicture {
  readonly image: RgbImage;
  readonly judgement: Judgement;
  /** What that took. */
  readonly milliseconds: number;
}

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
  /** Which tokens a search may choose. Default "all", as the reference. */
  readonly vocabulary?: Vocabulary;
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
