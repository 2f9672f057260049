/** A share of successes with its 95% interval. */
export interface Rate {
  readonly count: number;
  readonly of: number;
  /** 0 to 1; NaN of none. */
  readonly rate: number;
  readonly low: number;
  readonly high: number;
}

/** 97.5% quantile of the normal distribution. */
export const NORMAL_975 = 1.959963984540054;

/**
 * Wilson's score interval at 95%.
 * @param count successes, from 0 to `of`
 * @param of trials; of none the rate is NaN and the interval is all of 0 to 1
 * Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
 */
export function wilson(count: number, of: number): Rate {
  if (of === 0) return { count, of, rate: Number.NaN, low: 0, high: 1 };
  const p = count / of;
  const middle = p + NORMAL_975 ** 2 / (2 * of);
  const spread = NORMAL_975 * Math.sqrt((p * (1 - p)) / of + NORMAL_975 ** 2 / (4 * of ** 2));
  const scale = 1 + NORMAL_975 ** 2 / of;
  return { count, of, rate: p, low: count === 0 ? 0 : (middle - spread) / scale, high: count === of ? 1 : (middle + spread) / scale };
}
