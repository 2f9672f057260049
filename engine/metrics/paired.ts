import { manualSeed } from "../runtime/random/random.ts";

/** Outcomes of the same cases under two conditions. */
export interface PairedCounts {
  readonly both: number;
  readonly onlyFirst: number;
  readonly onlySecond: number;
  readonly neither: number;
}

/** A mean difference with its bootstrap interval. */
export interface Difference {
  readonly value: number;
  /** 2.5% and 97.5% quantiles of the resampled differences. */
  readonly low: number;
  readonly high: number;
}

/** How pairs of outcomes fall into the four groups. */
export function countPairs(pairs: readonly (readonly [first: boolean, second: boolean])[]): PairedCounts {
  const count = (first: boolean, second: boolean): number => pairs.filter(([a, b]) => a === first && b === second).length;
  return { both: count(true, true), onlyFirst: count(true, false), onlySecond: count(false, true), neither: count(false, false) };
}

/**
 * McNemar's test, exact and two-sided: how likely the pairs that changed would fall this unevenly or more if each were as likely to change
 * one way as the other. 1 where nothing changed.
 * Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages", with the binomial
 * distribution in place of chi squared.
 */
export function mcnemarExact({ onlyFirst, onlySecond }: Pick<PairedCounts, "onlyFirst" | "onlySecond">): number {
  const changed = onlyFirst + onlySecond;
  const fewer = Math.min(onlyFirst, onlySecond);
  let logTerm = -changed * Math.LN2; // of 0 successes; logarithms, since 2^-changed is zero from 1075 pairs on
  let tail = Math.exp(logTerm);
  for (let k = 1; k <= fewer; k++) {
    logTerm += Math.log((changed - k + 1) / k);
    tail += Math.exp(logTerm);
  }
  return Math.min(1, 2 * tail);
}

const RESAMPLES = 10_000;

/**
 * The difference of two rates, second less first, with a percentile bootstrap interval at 95%. Whole clusters are drawn again, so that
 * outcomes that belong together (one prompt under several attackers) stay together.
 * @param clusters each a list of pairs; most often of one pair
 * @param seed of the resampling; the same one gives the same interval
 * @returns NaN with an interval of -1 to 1 for no pairs at all
 * Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
 */
export function bootstrapDifference(
  clusters: readonly (readonly (readonly [first: boolean, second: boolean])[])[],
  seed = 0,
  resamples = RESAMPLES,
): Difference {
  const sums = clusters
    .filter((pairs) => pairs.length > 0)
    .map((pairs) => ({ of: pairs.length, sum: pairs.reduce((total, [first, second]) => total + Number(second) - Number(first), 0) }));
  if (sums.length === 0) return { value: Number.NaN, low: -1, high: 1 };
  const mean = (pick: (i: number) => number): number => {
    let [sum, of] = [0, 0];
    for (let i = 0; i < sums.length; i++) {
      const one = sums[pick(i)]!;
      sum += one.sum;
      of += one.of;
    }
    return sum / of;
  };
  const generator = manualSeed(seed);
  const draw = (): number => Math.floor((generator.random() / 2 ** 32) * sums.length);
  const means = Float64Array.from({ length: resamples }, () => mean(draw)).toSorted();
  return { value: mean((i) => i), low: quantile(means, 0.025), high: quantile(means, 0.975) };
}

/** Of sorted values, between neighbours in proportion, as numpy's default. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const [a, b] = [sorted[below]!, sorted[Math.min(below + 1, sorted.length - 1)]!];
  return a + (b - a) * (place - below);
}
