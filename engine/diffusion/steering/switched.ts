import type { Predict } from "./denoise.ts";

/** The first `count` steps are predicted by one, the others by another: another model, or another encoding of the prompt. */
export function switched(first: Predict, then: Predict, count: number): Predict {
  return (sample, timestep, step) => (step < count ? first : then)(sample, timestep, step);
}
