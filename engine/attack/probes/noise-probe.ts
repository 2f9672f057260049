import { createNoisyPlan, schedulerJsonFor } from "../../diffusion/schedulers/index.ts";
import type { Predict } from "../../diffusion/steering/denoise.ts";
import { parseNumbers } from "./option-table.ts";
import { type OtherSide, type Probe, type ProbePicture, type ProbeUnit, type Studio, pairsOf } from "./studio.ts";

/**
 * More noise than DDIM allows: every eta with every variance scale (WhenAreConceptsErased, arXiv 2505.17013). Try i starts from seed
 * --seed + i, as the published code goes on with one generator; so the control has as many seeds.
 */
export const noiseProbe: Probe = async (studio) => {
  const { own, other, options } = studio;
  const grid = noiseGrid(studio, options.varianceScales);
  const unit = (i: number, eta: number, scale: number, side: OtherSide, control?: string): ProbeUnit =>
    studio.unit(i, side, control, { eta, varianceScale: scale }, async (seed) =>
      drawNoisy(studio, side, seed, await studio.guided(side.prompt, side.model), eta, scale),
    );
  return [
    ...grid.map(([eta, scale], i) => unit(i, eta, scale, own)),
    ...grid.map((_, i) => unit(i, 0, 1, own, "seeds")),
    ...(other ? grid.map(([eta, scale], i) => unit(i, eta, scale, other, "never-saw")) : []),
  ];
};

/** Every eta with every one of some scales, as many as may be tried. */
export function noiseGrid({ options }: Studio, scales: string): (readonly [eta: number, scale: number])[] {
  return pairsOf(parseNumbers(options.etas), parseNumbers(scales)).slice(0, options.maxTimesteps ?? undefined);
}

/** A picture by DDIM with fresh noise: `eta` as its share, `variance` as its factor. */
export function drawNoisy(
  studio: Studio, { model }: OtherSide, seed: number, predict: Predict, eta: number, variance: number,
): Promise<ProbePicture> {
  const random = studio.random(seed);
  const start = { data: studio.randn(random), shape: studio.latentShape };
  const json = schedulerJsonFor("ddim", studio.model.parts.scheduler, studio.model.isXl);
  const plan = createNoisyPlan(json, studio.options.steps, eta, variance);
  return studio.draw({ plan, start, predict, drawNoise: () => studio.randn(random) }, model);
}
