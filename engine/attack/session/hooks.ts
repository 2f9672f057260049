import { Generator } from "../../runtime/random/random.ts";
import type { NDArray } from "../../nn/array.ts";
import type { Objective } from "../search/objective.ts";

/**
 * What a replay of a recorded attack puts into the search and sees of it. An attack draws from torch's generators and is watched by nobody.
 */
export interface SessionHooks {
  /** The generator of a search's own randomness, by its seed. */
  readonly searchRandom: (seed: number) => Generator;
  /** The generator of a picture's noise, by its seed. */
  readonly pictureRandom: (seed: number) => Generator;
  /** Latents of a case's picture, [1, C, h, w], scaled. Default: the model's own encoding. */
  readonly targetLatents?: (number: number) => NDArray;
  /** Called right after an iteration of a gradient search was queued: what is then read of the objective is that iteration's. */
  readonly onIteration?: (objective: Objective) => void;
}

export const NO_HOOKS: SessionHooks = { searchRandom: (seed) => new Generator(seed), pictureRandom: (seed) => new Generator(seed) };
