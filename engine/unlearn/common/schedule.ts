import type { Settings } from "../options.ts";

/**
 * The learning rate of step number `index`, from 0: rising from 0 in `warmupSteps`, then constant, or falling to 0 at the end in a line
 * or half a cosine. Source: diffusers' optimization.py (`get_constant_schedule_with_warmup`, `get_linear_...`, `get_cosine_...`).
 */
export function learningRateAt({ learningRate, schedule, warmupSteps, steps }: ScheduleSettings, index: number): number {
  const [rate, warmup, all] = [learningRate!, warmupSteps ?? 0, steps!];
  if (index < warmup) return (rate * index) / Math.max(1, warmup);
  const left = (index - warmup) / Math.max(1, all - warmup);
  if (schedule === "linear") return rate * Math.max(0, 1 - left);
  return schedule === "cosine" ? rate * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * left))) : rate;
}

export type ScheduleSettings = Pick<Settings, "learningRate" | "schedule" | "warmupSteps" | "steps">;

/**
 * Decay of the running average at update number `n`, from 1: the constant, or with `averageWarmup` 0 at first and then n / (9 + n) up to
 * it. Source: diffusers' training_utils.py, `EMAModel.get_decay`.
 */
export function averageDecayAt({ averageDecay, averageWarmup }: Pick<Settings, "averageDecay" | "averageWarmup">, n: number): number {
  const decay = averageDecay!;
  return averageWarmup ? (n === 1 ? 0 : Math.min(decay, n / (9 + n))) : decay;
}
