/** One step in float64, straight from torch.optim.Adam's documentation. */
export function adamReference(
  p: Float64Array,
  gradient: Float64Array,
  m: Float64Array,
  v: Float64Array,
  step: number,
  lr: number,
  weightDecay: number,
): Float64Array[] {
  const g = gradient.map((d, i) => d + weightDecay * p[i]!);
  const nextM = m.map((a, i) => 0.9 * a + 0.1 * g[i]!);
  const nextV = v.map((a, i) => 0.999 * a + 0.001 * g[i]! ** 2);
  return [p.map((a, i) => a - (lr * (nextM[i]! / (1 - 0.9 ** step))) / (Math.sqrt(nextV[i]! / (1 - 0.999 ** step)) + 1e-8)), nextM, nextV];
}

/** The true projection, in float64, by sorting (Held, Wolfe and Crowder 1974); relative to the maximum, or 1 would be lost beside 1e30. */
export function projectionReference(values: Float32Array): Float64Array {
  const top = values.reduce((a, b) => Math.max(a, b));
  const row = Float64Array.from(values, (a) => a - top);
  const sorted = row.toSorted().toReversed();
  let sum = 0;
  let mu = 0;
  sorted.forEach((a, i) => {
    sum += a;
    if (a > (sum - 1) / (i + 1)) mu = (sum - 1) / (i + 1);
  });
  return row.map((a) => Math.max(a - mu, 0));
}
