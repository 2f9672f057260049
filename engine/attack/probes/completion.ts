import { switched } from "../../diffusion/steering/switched.ts";
import { UsageError } from "../../runtime/errors.ts";
import { parseNumbers } from "./option-table.ts";
import { type Probe, type ProbeUnit, type OtherSide, pairsOf, upTo } from "./studio.ts";

/**
 * The model before unlearning makes the first steps, the unlearned one the others (diffusion completion, arXiv 2505.17013): whether it can
 * finish what it would not begin. DDIM without fresh noise, whatever the judged pictures' sampler is.
 */
export const completion: Probe = async (studio) => {
  const { own, prompt, other, original, options } = studio;
  const counts = parseNumbers(options.baseSteps);
  const most = Math.max(...counts);
  if (most >= options.steps) {
    throw new UsageError(`baseSteps ${most} must be below the ${options.steps} steps, or nothing is left to complete`);
  }
  const units = (side: OtherSide, control?: string): ProbeUnit[] =>
    pairsOf(counts, upTo(options.seeds)).map(([count, i]) =>
      studio.unit(i, side, control, { baseSteps: control === "alone" ? 0 : count }, async (seed) => {
        const then = await studio.guided(side.prompt, side.model);
        const first = control === "alone" ? then : await studio.guided(prompt, original);
        return studio.draw({ plan: studio.ddim(), start: studio.noise(seed), predict: switched(first, then, count) }, side.model);
      }),
    );
  return [...units(own), ...units(own, "alone"), ...(other ? units(other, "never-saw") : [])];
};
