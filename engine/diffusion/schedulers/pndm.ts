/** PNDM in its PLMS form, `skip_prk_steps` (arXiv 2202.09778, eq. 9 and 12; diffusers v0.21 scheduling_pndm.py `step_plms`). */
import type { SchedulerConfig } from "./config.ts";
import { alphaAt } from "./noise-schedule.ts";
import { combine, type Operand, type SamplerPlan, type SamplerStep } from "./plan.ts";
import { wholeTimesteps } from "./spacing.ts";

/** Adams-Bashforth weights, newest output first, by how many outputs are kept. */
const WEIGHTS: readonly (readonly number[])[] = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]];

/** Slots 0..3 are a ring of model outputs; this one keeps the first sample, from which the second call starts again. */
const FIRST_SAMPLE = 4;

/**
 * The second timestep is visited twice, so there are steps + 1 model calls: the first update is only a trial (Euler), the second starts
 * again from the first sample with the mean of both outputs. Later updates combine up to four outputs. Each update is
 * x' = sqrt(a'/a) x - (a' - a) e / (a sqrt(1 - a') + sqrt(a (1 - a) a')), with e = combined output (epsilon), or
 * sqrt(a) v + sqrt(1 - a) x for v-prediction.
 * @param from first entry of the list of timesteps. Entered in the middle, the second call starts again all the same, at a timestep that
 *   was not doubled: one step of noise is never removed. So does diffusers' img2img pipeline.
 */
export function pndmPlan(config: SchedulerConfig, ac: Float32Array, steps: number, from = 0): SamplerPlan {
  const stride = Math.floor(config.numTrainTimesteps / steps);
  const last = config.setAlphaToOne ? 1 : alphaAt(ac, 0);
  const visited = wholeTimesteps(config, steps);
  const timesteps = (steps === 1 ? visited : [visited[0] as number, visited[1] as number, ...visited.slice(1)]).slice(from);

  const update = (base: Operand, t: number, to: number, outputs: readonly (readonly [Operand, number])[]) => {
    const a = alphaAt(ac, t);
    const prev = to >= 0 ? alphaAt(ac, to) : last;
    const scale = -(prev - a) / (a * Math.sqrt(1 - prev) + Math.sqrt(a * (1 - a) * prev));
    const v = config.predictionType === "v_prediction";
    const keep = Math.sqrt(prev / a) + (v ? scale * Math.sqrt(1 - a) : 0);
    const share = v ? scale * Math.sqrt(a) : scale;
    return combine([[base, keep], ...outputs.map(([operand, weight]) => [operand, weight * share] as const)]);
  };

  const plan = timesteps.map((t, call): SamplerStep => {
    const common = { timestep: t, inputScale: 1, needsNoise: false };
    if (call === 0) {
      const stores = [
        { slot: 0, value: combine([["output", 1]]) },
        { slot: FIRST_SAMPLE, value: combine([["sample", 1]]) },
      ];
      return { ...common, stores, next: update("sample", t, t - stride, [["output", 1]]) };
    }
    if (call === 1) return { ...common, stores: [], next: update(FIRST_SAMPLE, t + stride, t, [["output", 1 / 2], [0, 1 / 2]]) };
    const kept = call - 1; // outputs stored before this one: the trial's second output is not kept
    const weights = WEIGHTS[Math.min(kept, 3)] as readonly number[];
    const stores = [{ slot: kept % 4, value: combine([["output", 1]]) }];
    return { ...common, stores, next: update("sample", t, t - stride, weights.map((w, age) => [(kept - age) % 4, w] as const)) };
  });
  return { initNoiseSigma: 1, historySlots: 5, steps: plan };
}
