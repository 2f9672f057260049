/** Which input samples make an output sample, how much each counts, as Pillow and PIL-like resizers have it, and the two passes. */

export type Resampling = "box" | "bilinear" | "hamming" | "bicubic" | "lanczos";

export interface ResamplingTaps {
  /** First input sample of each output sample. */
  readonly start: Int32Array;
  readonly count: Int32Array;
  /** `width` weights for each output sample, the first `count` of which are in use and add up to 1. */
  readonly weights: Float64Array | Int32Array;
  readonly width: number;
}

/** A picture of bytes or floats: height * width * 3 numbers, row by row from the top left, R G B. */
export interface Pixels<Data extends ArrayLike<number> = ArrayLike<number>> {
  readonly data: Data;
  readonly width: number;
  readonly height: number;
}

/** How sums of weighted samples become a picture's numbers. */
export interface Rounding<Data> {
  readonly make: (length: number) => Data;
  /** What every sum begins with. */
  readonly start: number;
  readonly end: (sum: number) => number;
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

/** The pass that changes the width. */
export function resampleRows<Data extends Uint8Array | Float32Array>(
  image: Pixels,
  { start, count, weights, width: tapWidth }: ResamplingTaps,
  width: number,
  rounding: Rounding<Data>,
): Pixels<Data> {
  const data = rounding.make(width * image.height * 3);
  const { start: zero, end } = rounding;
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      let red = zero, green = zero, blue = zero;
      let at = (y * image.width + start[x]!) * 3;
      for (let i = 0; i < count[x]!; i++, at += 3) {
        const weight = weights[x * tapWidth + i]!;
        red += image.data[at]! * weight;
        green += image.data[at + 1]! * weight;
        blue += image.data[at + 2]! * weight;
      }
      const to = (y * width + x) * 3;
      data[to] = end(red);
      data[to + 1] = end(green);
      data[to + 2] = end(blue);
    }
  }
  return { data, width, height: image.height };
}

/** The pass that changes the height. */
export function resampleColumns<Data extends Uint8Array | Float32Array>(
  image: Pixels,
  { start, count, weights, width: tapWidth }: ResamplingTaps,
  height: number,
  { make, start: zero, end }: Rounding<Data>,
): Pixels<Data> {
  const row = image.width * 3;
  const data = make(row * height);
  const sums = new Float64Array(row);
  for (let y = 0; y < height; y++) {
    sums.fill(zero);
    for (let i = 0; i < count[y]!; i++) {
      const weight = weights[y * tapWidth + i]!;
      const from = (start[y]! + i) * row;
      for (let x = 0; x < row; x++) sums[x]! += image.data[from + x]! * weight;
    }
    for (let x = 0; x < row; x++) data[y * row + x] = end(sums[x]!);
  }
  return { data, width: image.width, height };
}
