import type { NDArray } from "../../nn/array.ts";

/** Pictures as latents, with their prompts. */
export interface PictureBatch {
  /** [B, C, h, w], scaled: a sample of the VAE's posterior. */
  readonly latents: NDArray;
  readonly prompts: readonly string[];
}
