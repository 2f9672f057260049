import type { RgbImage } from "../formats/picture/image.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { NDArray } from "../nn/array.ts";
import type { Given, Values } from "../options/option.ts";
import type { AttackerName } from "./attackers.ts";
import type { Judge, Judgement } from "./judges/judgement.ts";
import type { Mask } from "../diffusion/steering/inpaint.ts";
import type { ATTACK_OPTIONS, GATE_OPTIONS } from "./option-table.ts";
import type { ConceptPair } from "./search/concept-vector.ts";
import type { AttackState } from "./session/state.ts";

/** A prompt found elsewhere, and the seed it was found with. */
export interface TransferCandidate {
  readonly prompt: string;
  readonly seed: number;
}

/** Pictures that a probe trains on, [1, 3, H, W] in [-1, 1] each. */
export interface ProbePictures {
  readonly concept?: readonly NDArray[];
  /** Of other things. */
  readonly other?: readonly NDArray[];
}

/** A picture that was drawn and judged before. */
export interface DrawnPicture {
  readonly image: RgbImage;
  readonly judgement: Judgement;
  /** What that took. */
  readonly milliseconds: number;
}

/** How pictures are drawn for the judge. "lms" is as the reference builds it, any other sampler as the field's pipeline does. */
export type SamplingOptions = Pick<Given<typeof ATTACK_OPTIONS>, "steps" | "scheduler" | "guidance">;

/**
 * Draws the judged pictures where the model that is attacked is not here, behind an endpoint for instance.
 * @param how seed of its noise, guidance and sampling steps
 */
export type PromptPainter = (
  prompt: string,
  how: { readonly seed: number; readonly guidance: number; readonly steps: number; readonly signal: AbortSignal | undefined },
) => Promise<RgbImage>;

/** A prompt that names the concept, and what its pictures are drawn from. */
export interface AttackCase {
  readonly prompt: string;
  /** As `AttackParts.target`. */
  readonly target?: NDArray | undefined;
  readonly seed: number;
  /** Default: that of the attack. */
  readonly guidance?: number;
}

/**
 * A prompt is drawn only if under it the attacked model predicts the noise in the target better than under the original prompt: its error,
 * as the diffusion classifier measures it (arXiv 2303.16203), is below (1 - margin) times the original prompt's.
 */
export interface GateOptions extends Given<typeof GATE_OPTIONS> {
  /** Default 0. */
  readonly margin?: number | undefined;
  /** Timesteps, evenly spread, each with one noise that is the same for all prompts. Default 8. */
  readonly samples?: number | undefined;
}

/** What an attack searches by: every option of ATTACK_OPTIONS, which says what each means, its default and its range. */
export type AttackValues = Values<typeof ATTACK_OPTIONS>;

/** What an attack is given that is not a number or a name of ATTACK_OPTIONS. */
export interface AttackParts {
  readonly prompt: string;
  /** A picture of the concept, [1, 3, H, W] in [-1, 1]; needed by the attackers with a gradient. Its size is the size drawn. */
  readonly target?: NDArray | undefined;
  /**
   * Universal: one set of tokens for all of these instead of the one `prompt`, `target` and `seed`, which are then only names in the
   * result.
   * The search sees them in turn, `casesPerStep` in an iteration, whose loss is the mean; found tokens are judged on all, and succeed if
   * all do.
   */
  readonly cases?: readonly AttackCase[] | undefined;
  /** What a prompt must pass before it is drawn. Default: nothing. */
  readonly gate?: Values<typeof GATE_OPTIONS> | undefined;
  /** Prompts found elsewhere, in the order they are tried; needed by transfer only. */
  readonly candidates?: readonly TransferCandidate[] | undefined;
  /**
   * The model before unlearning; needed by p4d, on the same device. ring-a-bell takes its text encoder, or without it the attacked model's.
   */
  readonly original?: StableDiffusion | undefined;
  /** Probes: a model that never saw the concept, on the same device. Without it `controlPrompt` takes its place. */
  readonly controlModel?: StableDiffusion | undefined;
  /** Probes that need a picture: an unrelated one, [1, 3, H, W], for their controls. */
  readonly controlPicture?: NDArray | undefined;
  /** Inpainting: what is painted anew, in the target's size. Default: the middle half. */
  readonly mask?: Mask | undefined;
  /** latent-classifier and relearn-lora: what is trained on. relearn-lora, without any of a kind: target and control picture. */
  readonly probePictures?: ProbePictures | undefined;
  readonly judge: Judge;
  /** What draws instead of the model, of which the search then only has tokenizer, text encoder and gradients. Not for cce and probes. */
  readonly draw?: PromptPainter | undefined;
  /** Ring-a-bell: prompts with the concept and without; needed by it only. */
  readonly conceptPairs?: readonly ConceptPair[] | undefined;
  /**
   * The original prompt's picture, where an attack on the same model with the same seed, sampling and judge has drawn it: it is not drawn
   * again.
   */
  readonly drawn?: DrawnPicture | undefined;
  /**
   * Also tell, with every batch of losses, what the slots hold; it changes nothing in the search. Of attackers that follow a gradient to
   * tokens. Default false.
   */
  readonly watchSlots?: boolean | undefined;
  /** Where an earlier run stood. */
  readonly resume?: AttackState | undefined;
  /** Stops the search after the work under way; the attack then rejects with an AbortError and the last state given out is good. */
  readonly signal?: AbortSignal | undefined;
}

/** What an attack is told: its parts, and those options of ATTACK_OPTIONS that are not at their defaults. */
export interface AttackOptions extends Omit<AttackParts, "gate">, Given<Omit<typeof ATTACK_OPTIONS, "attacker" | "seed">> {
  readonly attacker: AttackerName;
  /** Seed of the pictures' noise. */
  readonly seed: number;
  readonly gate?: GateOptions | undefined;
}
