import type { ActivationKind } from "../../../../kernels/activation.ts";
import type { Array64 } from "../array64.ts";

// Plain float64 versions of the norm, activation and row ops, written from their definitions.

export function map64(x: Array64, f: (v: number, i: number) => number): Array64 {
  return { shape: x.shape, data: x.data.map(f) };
}

/** erf by its power series, and by the continued fraction of erfc in the tail. */
export function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 80; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (x + fraction);
  return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** Of any number, but for `sqrt`, which a device gives 0 of what is not above 0. */
export const activations: Readonly<Record<ActivationKind, (x: number) => number>> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  quickGelu: (x) => x / (1 + Math.exp(-1.702 * x)),
  relu: (x) => Math.max(x, 0),
  sqrt: (x) => Math.sqrt(Math.max(x, 0)),
};

function meanAndVariance(values: readonly number[]): { mean: number; variance: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, variance: values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length };
}

/** x [batch, .., channels]. */
export function groupNorm64(
  x: Array64,
  gamma: Array64,
  beta: Array64,
  options: { groups: number; epsilon: number; silu?: boolean },
): Array64 {
  const batch = x.shape[0]!;
  const channels = x.shape.at(-1)!;
  const positions = x.data.length / batch / channels;
  const perGroup = channels / options.groups;
  const y = new Float64Array(x.data.length);
  for (let b = 0; b < batch; b++) {
    for (let group = 0; group < options.groups; group++) {
      const indices: number[] = [];
      for (let p = 0; p < positions; p++) {
        for (let c = 0; c < perGroup; c++) indices.push((b * positions + p) * channels + group * perGroup + c);
      }
      const { mean, variance } = meanAndVariance(indices.map((i) => x.data[i]!));
      for (const i of indices) {
        const z = ((x.data[i]! - mean) / Math.sqrt(variance + options.epsilon)) * gamma.data[i % channels]! + beta.data[i % channels]!;
        y[i] = options.silu ? activations.silu(z) : z;
      }
    }
  }
  return { shape: x.shape, data: y };
}

/** `f` applied to every row of the last dimension. */
export function rows64(x: Array64, f: (row: Float64Array) => ArrayLike<number>): Array64 {
  const width = x.shape.at(-1)!;
  const data = new Float64Array(x.data.length);
  for (let at = 0; at < x.data.length; at += width) data.set(Float64Array.from(f(x.data.subarray(at, at + width))), at);
  return { shape: x.shape, data };
}

export function layerNorm64(x: Array64, gamma: Array64, beta: Array64, epsilon: number): Array64 {
  return rows64(x, (row) => {
    const { mean, variance } = meanAndVariance([...row]);
    return row.map((v, i) => ((v - mean) / Math.sqrt(variance + epsilon)) * gamma.data[i]! + beta.data[i]!);
  });
}

export function softmax64(x: Array64): Array64 {
  return rows64(x, (row) => {
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const e = row.map((v) => Math.exp(v - top));
    const total = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / total);
  });
}

/** First half times gelu of the second half of each row. */
export function geglu64(x: Array64): Array64 {
  const width = x.shape.at(-1)! / 2;
  const data = new Float64Array(x.data.length / 2);
  for (let i = 0; i < data.length; i++) {
    const at = Math.floor(i / width) * 2 * width + (i % width);
    data[i] = x.data[at]! * activations.gelu(x.data[at + width]!);
  }
  return { shape: [...x.shape.slice(0, -1), width], data };
}
