/** Which input samples make an output sample, and how much each counts, as Pillow and PIL-like resizers have it. */

export type Resampling = "box" | "bilinear" | "hamming" | "bicubic" | "lanczos";

export interface ResamplingTaps {
  /** First input sample of each output sample. */
  readonly start: Int32Array;
  readonly count: Int32Array;
  /** `width` weights for each output sample, the first `count` of which are in use and add up to 1. */
  readonly weights: Float64Array;
  readonly width: number;
}

interface Filter {
  readonly support: number;
  weight(x: number): number;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

const FILTERS: Readonly<Record<Resampling, Filter>> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: { support: 1, weight: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(x * Math.PI))) },
  bicubic: {
    support: 2,
    weight(signed) {
      const a = -0.5;
      const x = Math.abs(signed);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/**
 * The taps of one direction: the filter is widened when shrinking, so that every input sample counts.
 * Source: Pillow 9.4, src/libImaging/Resample.c, precompute_coeffs.
 */
export function resamplingTaps(inputSize: number, outputSize: number, resampling: Resampling): ResamplingTaps {
  const filter = FILTERS[resampling];
  const scale = inputSize / outputSize;
  const filterScale = Math.max(1, scale);
  const support = filter.support * filterScale;
  const width = Math.ceil(support) * 2 + 1;
  const start = new Int32Array(outputSize);
  const count = new Int32Array(outputSize);
  const weights = new Float64Array(outputSize * width);
  const inverse = 1 / filterScale;
  for (let out = 0; out < outputSize; out++) {
    const center = (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const taken = Math.min(inputSize, Math.trunc(center + support + 0.5)) - first;
    const own = weights.subarray(out * width, out * width + taken);
    let sum = 0;
    for (let i = 0; i < taken; i++) sum += own[i] = filter.weight((i + first - center + 0.5) * inverse);
    start[out] = first;
    count[out] = taken;
    if (sum !== 0) for (let i = 0; i < taken; i++) own[i]! /= sum;
  }
  return { start, count, weights, width };
}
