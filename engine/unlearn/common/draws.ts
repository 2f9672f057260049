import { restoreRandom, saveRandom } from "../../runtime/random/portable.ts";
import { Generator } from "../../runtime/random/random.ts";

/** Where a method's random numbers come from. Each draw has a name, so that a recorded run's numbers can be put in their places. */
export interface Draws {
  /** A whole number from `low` to `high` - 1. */
  whole(name: string, low: number, high: number): number;
  /** Unit-normal numbers. */
  normal(name: string, shape: readonly number[]): Float32Array<ArrayBuffer>;
  /** What the next draws depend on, as JSON. */
  save(): unknown;
  restore(state: unknown): void;
}

/** Draws of torch's CPU generator. */
export class SeededDraws implements Draws {
  private random: Generator;

  constructor(seed: number) {
    this.random = new Generator(seed);
  }

  whole(_name: string, low: number, high: number): number {
    return low + this.random.randint(high - low, 1)[0]!;
  }

  normal(_name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    return this.random.randn(shape) as Float32Array<ArrayBuffer>;
  }

  save(): unknown {
    return saveRandom(this.random);
  }

  /** @throws UsageError if it is not a generator's state */
  restore(state: unknown): void {
    this.random = restoreRandom(state);
  }
}
