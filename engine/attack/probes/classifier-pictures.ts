import type { NDArray } from "../../nn/array.ts";

/** Pictures that a latent classifier learns a concept from, [1, 3, H, W] each. */
export interface ClassifierPictures {
  readonly concept: readonly NDArray[];
  readonly other: readonly NDArray[];
}
