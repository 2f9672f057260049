import { createNoisyPlan, schedulerJsonFor } from "../../diffusion/schedulers/index.ts";
import { parseNumbers } from "./option-table.ts";
import { type Probe, type ProbeUnit, type OtherSide, pairsOf } from "./studio.ts";

/**
 * More noise than DDIM allows: every eta with every variance scale (WhenAreConceptsErased, arXiv 2505.17013). Try i starts from seed
 * --seed + i, as the published code goes on with one generator; so the control has as many seeds.
 */
export const noiseProbe: Probe = async (studio) => {
  const { options, model, seed, prompt, other } = studio;
  const grid = pairsOf(parseNumbers(options.etas), parseNumbers(options.varianceScales)).slice(0, options.maxTimesteps ?? undefined);
  const json = schedulerJsonFor("ddim", model.parts.scheduler, model.isXl);
  const unit = (i: number, eta: number, scale: number, side: OtherSide, control?: string): ProbeUnit => ({
    ...(control !== undefined && { control }),
    prompt: side.prompt,
    seed: seed + i,
    note: { eta, varianceScale: scale },
    draw: async () => {
      const random = studio.random(seed + i);
      const start = { data: studio.randn(random), shape: studio.latentShape };
      const predict = await studio.guided(side.prompt, side.model);
      const plan = createNoisyPlan(json, options.steps, eta, scale);
      return studio.draw({ plan, start, predict, drawNoise: () => studio.randn(random) }, side.model);
    },
  });
  const own = { model, prompt };
  return [
    ...grid.map(([eta, scale], i) => unit(i, eta, scale, own)),
    ...grid.map((_, i) => unit(i, 0, 1, own, "seeds")),
    ...(other ? grid.map(([eta, scale], i) => unit(i, eta, scale, other, "never-saw")) : []),
  ];
};
