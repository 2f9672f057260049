/**
 * Which timesteps and noise levels a sampler visits (diffusers `set_timesteps`; arXiv 2305.08891, table 2; Karras et al., arXiv 2206.00364,
 * eq. 5).
 */
import { SchedulerConfigError, type SchedulerConfig } from "./config.ts";
import { sigmasOf } from "./noise-schedule.ts";

/** numpy's rounding: halves go to the even neighbour. */
export function roundHalfEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

/** `numpy.linspace(0, last, n)`, rising. */
export function linspace(last: number, n: number): number[] {
  const step = last / (n - 1);
  return Array.from({ length: n }, (_, i) => (i === 0 ? 0 : i === n - 1 ? last : i * step));
}

/** `numpy.arange(start, 0, -step)` rounded, minus 1: trailing spacing. */
function trailing(start: number, step: number): number[] {
  return Array.from({ length: Math.ceil(start / step) }, (_, i) => roundHalfEven(start - i * step) - 1);
}

function checkRange(config: SchedulerConfig, timesteps: number[]): number[] {
  const wrong = timesteps.find((t) => !(t >= 0 && t < config.numTrainTimesteps));
  if (wrong !== undefined) {
    throw new SchedulerConfigError(
      `scheduler ${config.name}: timestep ${wrong} is outside 0..${config.numTrainTimesteps - 1}; take fewer steps or a smaller ` +
        `steps_offset (now ${config.stepsOffset})`,
    );
  }
  return timesteps;
}

/** Whole timesteps, falling (DDIM, DDPM, PNDM). @throws SchedulerConfigError if the offset leads outside the table */
export function wholeTimesteps(config: SchedulerConfig, steps: number): number[] {
  const total = config.numTrainTimesteps;
  switch (config.timestepSpacing) {
    case "linspace":
      return linspace(total - 1, steps).map(roundHalfEven).toReversed();
    case "leading":
      return checkRange(config, Array.from({ length: steps }, (_, i) => i * Math.floor(total / steps) + config.stepsOffset).toReversed());
    case "trailing":
      return checkRange(config, trailing(total, total / steps));
  }
}

/** Whole timesteps of DPM-Solver, falling: one more is laid out than taken, and equal neighbours count once. */
export function dpmTimesteps(config: SchedulerConfig, steps: number, last: number): number[] {
  const laidOut = (): number[] => {
    switch (config.timestepSpacing) {
      case "linspace":
        return linspace(last - 1, steps + 1).slice(1).map(roundHalfEven).toReversed();
      case "leading":
        return Array.from({ length: steps }, (_, i) => (i + 1) * Math.floor(last / (steps + 1)) + config.stepsOffset).toReversed();
      case "trailing":
        return trailing(last, config.numTrainTimesteps / steps);
    }
  };
  return unique(checkRange(config, laidOut()));
}

/** First occurrences, in order. */
export function unique(timesteps: readonly number[]): number[] {
  return [...new Set(timesteps)];
}

export interface SigmaSchedule {
  /** Possibly fractional, falling. */
  readonly timesteps: number[];
  /** float32, one more than timesteps, falling to 0. */
  readonly sigmas: Float32Array;
  readonly initNoiseSigma: number;
}

/** Timesteps and sigmas of the sigma-space samplers (LMS, Euler, Euler-ancestral). @throws SchedulerConfigError as `wholeTimesteps` */
export function sigmaSchedule(config: SchedulerConfig, ac: Float32Array, steps: number): SigmaSchedule {
  const table = sigmasOf(ac);
  let timesteps =
    config.timestepSpacing === "linspace"
      ? linspace(config.numTrainTimesteps - 1, steps)
          .map(Math.fround)
          .toReversed()
      : wholeTimesteps(config, steps);
  let sigmas = timesteps.map((t) => interpolate(table, t));
  if (config.useKarrasSigmas && config.name !== "euler-ancestral") {
    sigmas = karrasSigmas(sigmas.at(-1) as number, sigmas[0] as number, steps);
    timesteps = sigmas.map((s) => timestepOfSigma(table, s));
  }
  const rounded = Float32Array.from([...sigmas, 0]);
  const max = Math.max(...rounded);
  return { timesteps, sigmas: rounded, initNoiseSigma: config.timestepSpacing === "leading" ? Math.sqrt(max * max + 1) : max };
}

function interpolate(table: Float32Array, t: number): number {
  const low = Math.min(Math.floor(t), table.length - 1);
  const a = table[low] as number;
  return t === low ? a : a + ((table[low + 1] as number) - a) * (t - low);
}

/** Noise levels of Karras et al., rho 7, falling from max to min. */
export function karrasSigmas(min: number, max: number, steps: number): number[] {
  const rho = 7;
  const [a, b] = [max ** (1 / rho), min ** (1 / rho)];
  return linspace(1, steps).map((ramp) => (a + ramp * (b - a)) ** rho);
}

/** The fractional timestep whose log sigma this is, between table entries; clipped to the table. */
export function timestepOfSigma(table: Float32Array, sigma: number): number {
  const log = (i: number) => Math.fround(Math.log(table[i] as number));
  const target = Math.log(sigma);
  let low = 0;
  while (low < table.length - 2 && log(low + 1) <= target) low++;
  const w = Math.min(1, Math.max(0, (log(low) - target) / (log(low) - log(low + 1))));
  return low + w;
}
