import type { NDArray } from "../../nn/array.ts";

/** Pictures as latents, with their prompts. */
export interface PictureBatch {
  /** [B, C, h, w], scaled: a sample of the VAE's posterior. */
  readonly latents: NDArray;
  readonly prompts: readonly string[];
  /** Concept ablation, in replays: the anchors' prompts. */
  readonly anchors?: readonly string[];
  /** Forget-Me-Not, in replays: which positions are steered away from, [B * T] of 0 and 1. */
  readonly positions?: readonly number[];
  /** Which pixels count, [B, 1, h, w]. Default: all alike. */
  readonly mask?: NDArray;
}
