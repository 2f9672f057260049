/** Order statistics of repeated measurements. Medians and quartiles, since a busy machine's outliers all lie on one side. */

/** Repeated measurements of one thing, in milliseconds per run. */
export interface Timing {
  readonly median: number;
  readonly min: number;
  /** Interquartile range divided by the median: 0.05 means that the middle half of the samples lies within 5%. */
  readonly spread: number;
  /** How many were taken. */
  readonly samples: number;
}

/**
 * The q-quantile (0 to 1) by linear interpolation between order statistics (Hyndman and Fan 1996, type 7).
 * @throws RangeError without samples
 */
export function quantile(samples: readonly number[], q: number): number {
  if (samples.length === 0) throw new RangeError("quantile of no samples");
  const sorted = samples.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * q;
  const below = Math.floor(place);
  const [low, high] = [sorted[below]!, sorted[Math.min(below + 1, sorted.length - 1)]!];
  return low + (high - low) * (place - below);
}

/** What is kept of a measured number: more digits than any clock tells would only make files larger. */
export function sixDigits(x: number): number {
  return Number(x.toPrecision(6));
}

/** @throws RangeError without samples */
export function summarize(samples: readonly number[]): Timing {
  const median = quantile(samples, 0.5);
  const range = quantile(samples, 0.75) - quantile(samples, 0.25);
  return {
    median: sixDigits(median),
    min: sixDigits(Math.min(...samples)),
    spread: median > 0 ? sixDigits(range / median) : 0,
    samples: samples.length,
  };
}

/** exp(mean(log x)); undefined for no values. Ratios are averaged so: the result does not depend on which side is the denominator. */
export function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  return Math.exp(values.reduce((sum, x) => sum + Math.log(x), 0) / values.length);
}

/** Three figures, without exponents. */
export function figures(x: number): string {
  if (!Number.isFinite(x)) return "-";
  return Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : Math.abs(x) >= 1 ? x.toFixed(2) : x.toFixed(3);
}
