/** DPM-Solver++ multistep, orders 1 and 2 (arXiv 2211.01095, eq. 9 and algorithm 2; diffusers v0.21 scheduling_dpmsolver_multistep.py). */
import type { SchedulerConfig } from "./config.ts";
import { alphaAt, predictions, sigmasOf } from "./noise-schedule.ts";
import { combine, type SamplerPlan } from "./plan.ts";
import { dpmTimesteps, karrasSigmas, roundHalfEven, timestepOfSigma, unique } from "./spacing.ts";

/** lambda = ln(alpha / sigma), half the log signal-to-noise ratio. */
function lambdaAt(ac: Float32Array, t: number): number {
  const a = alphaAt(ac, t);
  return 0.5 * Math.log(a / (1 - a));
}

function timestepsOf(config: SchedulerConfig, ac: Float32Array, steps: number): number[] {
  if (config.useKarrasSigmas) {
    const table = sigmasOf(ac);
    const sigmas = karrasSigmas(table[0] as number, table.at(-1) as number, steps); // over the whole table, whatever the spacing
    return unique(sigmas.map((s) => roundHalfEven(timestepOfSigma(table, s))));
  }
  const clipped = ac.reduce((n, _, t) => n + (lambdaAt(ac, t) < config.lambdaMinClipped ? 1 : 0), 0);
  return dpmTimesteps(config, steps, config.numTrainTimesteps - clipped);
}

/**
 * With m the predicted clean sample now and m1 the one before, h = lambda' - lambda, r = (lambda - lambda1) / h, D = (m - m1) / r, E =
 * exp(-h) - 1:
 * x' = (sigma' / sigma) x - alpha' E m - c D, where c = 0 (first order), alpha' E / 2 (midpoint), -alpha' (E / h + 1) (heun).
 * The first step is first order, and so is the last of fewer than 15 (lower_order_final). The last step goes to timestep 0. Slots 0 and 1
 * are a ring of m.
 */
export function dpmMultistepPlan(config: SchedulerConfig, ac: Float32Array, steps: number): SamplerPlan {
  const timesteps = timestepsOf(config, ac, steps);
  const count = timesteps.length;
  return {
    initNoiseSigma: 1,
    historySlots: config.solverOrder,
    steps: timesteps.map((t, i) => {
      const [a, to] = [alphaAt(ac, t), timesteps[i + 1] ?? 0];
      const prev = alphaAt(ac, to);
      const { clean } = predictions(config.predictionType, Math.sqrt(a), Math.sqrt(1 - a));
      const h = lambdaAt(ac, to) - lambdaAt(ac, t);
      const alpha = Math.sqrt(prev);
      const growth = Math.expm1(-h);
      const first = config.solverOrder === 1 || i === 0 || (i === count - 1 && config.lowerOrderFinal && count < 15);
      const [now, before] = [i % config.solverOrder, (i + 1) % config.solverOrder];
      const keep = Math.sqrt((1 - prev) / (1 - a));
      let slope = 0;
      if (!first) {
        const r = (lambdaAt(ac, t) - lambdaAt(ac, timesteps[i - 1] as number)) / h;
        slope = (config.solverType === "midpoint" ? (alpha * growth) / 2 : -alpha * (growth / h + 1)) / r;
      }
      return {
        timestep: t,
        inputScale: 1,
        needsNoise: false,
        stores: [{ slot: now, value: combine([["sample", clean.sample], ["output", clean.output]]) }],
        next: combine([["sample", keep], [now, -alpha * growth - slope], ...(first ? [] : [[before, slope] as const])]),
      };
    }),
  };
}
