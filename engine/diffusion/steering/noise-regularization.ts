/**
 * Making a prediction more like noise: its patches' means and variances like another prediction's, its pixels uncorrelated with their
 * neighbours. Source: pix2pix-zero (arXiv 2302.03027, section 3.2), in the form of ReNoise (arXiv 2403.14602). Gradients by hand, in
 * float64.
 */
import type { NDArray } from "../../nn/array.ts";

export interface RegularizationOptions {
  /** Step along the divergence's gradient. */
  readonly klWeight: number;
  /** Step along the correlation's. */
  readonly correlationWeight: number;
  readonly rounds: number;
  /** Random shifts in a round. */
  readonly rolls: number;
  /** Side of the patches in latent pixels. */
  readonly patch: number;
}

const EPSILON = 1e-6;
const LARGEST_GRADIENT = 100;
/** The correlation is also taken of halved pictures, down to this many rows. */
const SMALLEST_ROWS = 8;

/**
 * @param prediction [1, C, h, w]
 * @param like the prediction whose patches it should resemble, of the same shape
 * @param roll a whole number from 0 to below a limit, drawn once for each channel and size
 */
export function regularizeNoise(
  { data, shape }: NDArray,
  like: Float32Array,
  { klWeight, correlationWeight, rounds, rolls, patch }: RegularizationOptions,
  roll: (limit: number) => number,
): Float32Array<ArrayBuffer> {
  const [, channels, height, width] = shape as [number, number, number, number];
  const e = Float64Array.from(data);
  for (let round = 0; round < rounds; round++) {
    if (klWeight > 0) {
      const gradient = divergenceGradient(e, like, [channels, height, width], patch);
      for (let i = 0; i < e.length; i++) e[i] = e[i]! - klWeight * Math.min(LARGEST_GRADIENT, Math.max(-LARGEST_GRADIENT, gradient[i]!));
    }
    for (let inner = 0; inner < (correlationWeight > 0 ? rolls : 0); inner++) {
      for (let c = 0; c < channels; c++) {
        const plane = e.subarray(c * height * width, (c + 1) * height * width);
        const gradient = correlationGradient(plane, height, width, roll);
        for (let i = 0; i < plane.length; i++) plane[i] = plane[i]! - (correlationWeight * gradient[i]!) / rolls;
      }
    }
  }
  return Float32Array.from(e);
}

/**
 * Gradient for x of the sum over patches of |sum over channels of ln(v1 / v0) + (v0 + (m0 - m1)^2) / v1 - 1|, with m, v a channel's mean
 * and unbiased variance in the patch, of x and of y; v has EPSILON added where it divides or is divided.
 */
function divergenceGradient(
  x: Float64Array,
  y: Float32Array,
  [channels, height, width]: readonly [number, number, number],
  patch: number,
): Float64Array {
  const gradient = new Float64Array(x.length);
  const n = patch * patch;
  for (let top = 0; top + patch <= height; top += patch) {
    for (let left = 0; left + patch <= width; left += patch) {
      const places = Array.from({ length: n }, (_, k) => (top + Math.floor(k / patch)) * width + left + (k % patch));
      let divergence = 0;
      const own = new Float64Array(channels * n);
      for (let c = 0; c < channels; c++) {
        const at = c * height * width;
        const [m0, v0] = moments(x, at, places);
        const [m1, v1] = moments(y, at, places);
        divergence += Math.log((v1 + EPSILON) / (v0 + EPSILON)) + (v0 + (m0 - m1) ** 2) / (v1 + EPSILON) - 1;
        places.forEach((p, k) => {
          const dv = (2 * (x[at + p]! - m0)) / (n - 1);
          own[c * n + k] = -dv / (v0 + EPSILON) + (dv + (2 * (m0 - m1)) / n) / (v1 + EPSILON);
        });
      }
      const sign = Math.sign(divergence);
      for (let c = 0; c < channels; c++) places.forEach((p, k) => (gradient[c * height * width + p] = sign * own[c * n + k]!));
    }
  }
  return gradient;
}

/** Mean and unbiased variance. */
function moments(x: ArrayLike<number>, at: number, places: readonly number[]): readonly [number, number] {
  const mean = places.reduce((sum, p) => sum + x[at + p]!, 0) / places.length;
  return [mean, places.reduce((sum, p) => sum + (x[at + p]! - mean) ** 2, 0) / (places.length - 1)];
}

/** Gradient for a plane of the sum over sizes and both directions of (mean of plane * rolled plane)^2. */
function correlationGradient(plane: Float64Array, height: number, width: number, roll: (limit: number) => number): Float64Array {
  const gradient = new Float64Array(plane.length);
  const by = roll(Math.floor(height / 2));
  const wrap = (k: number, size: number): number => (k + size) % size;
  for (const [down, right] of [[by, 0], [0, by]] as const) {
    const at = (i: number, j: number): number => wrap(i, height) * width + wrap(j, width);
    let mean = 0;
    for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) mean += plane[i * width + j]! * plane[at(i - down, j - right)]!;
    mean /= plane.length;
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        const both = plane[at(i - down, j - right)]! + plane[at(i + down, j + right)]!;
        gradient[i * width + j] = gradient[i * width + j]! + (2 * mean * both) / plane.length;
      }
    }
  }
  if (height <= SMALLEST_ROWS) return gradient;
  const [h, w] = [Math.floor(height / 2), Math.floor(width / 2)];
  const half = new Float64Array(h * w);
  const each = (visit: (from: number, to: number) => void): void => {
    for (let i = 0; i < 2 * h; i++) for (let j = 0; j < 2 * w; j++) visit(i * width + j, (i >> 1) * w + (j >> 1));
  };
  each((from, to) => (half[to] = half[to]! + plane[from]! / 4));
  const below = correlationGradient(half, h, w, roll);
  each((from, to) => (gradient[from] = gradient[from]! + below[to]! / 4));
  return gradient;
}
