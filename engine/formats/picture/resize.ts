/**
 * Resampling of 8-bit pictures exactly as Pillow's `Image.resize` does: antialiased when shrinking, horizontal pass first, each pass in
 * 22-bit fixed point and rounded to 8 bits. Targets and classifier inputs of the field went through it. Source: Pillow 10,
 * src/libImaging/Resample.c.
 */
import type { RgbImage } from "./image.ts";

export type ResizeFilter = "nearest" | "box" | "bilinear" | "hamming" | "bicubic" | "lanczos";

/** Pillow's numbers, as `resample` in a preprocessor config. */
export const PIL_FILTERS: readonly ResizeFilter[] = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];

const PRECISION_BITS = 22;

interface Filter {
  readonly support: number;
  weight(x: number): number;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

const FILTERS: Readonly<Record<Exclude<ResizeFilter, "nearest">, Filter>> = {
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

interface Taps {
  /** First input sample of each output sample. */
  readonly start: Int32Array;
  readonly count: Int32Array;
  /** `width` fixed-point weights for each output sample. */
  readonly weights: Int32Array;
  readonly width: number;
}

/** Resamples to `width` x `height` pixels. @throws RangeError unless both are whole numbers >= 1. */
export function resize(image: RgbImage, width: number, height: number, filter: ResizeFilter): RgbImage {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new RangeError(`resize: cannot make ${width}x${height} pixels`);
  }
  if (image.width === width && image.height === height) return image;
  if (filter === "nearest") return nearest(image, width, height);
  const wide = image.width === width ? image : horizontal(image, taps(image.width, width, FILTERS[filter]), width);
  return wide.height === height ? wide : vertical(wide, taps(wide.height, height, FILTERS[filter]), height);
}

/** torchvision's `Resize(size)`: the shorter edge becomes `size`, the longer keeps the aspect ratio, cut to whole pixels. */
export function resizeShortestEdge(image: RgbImage, size: number, filter: ResizeFilter): RgbImage {
  const shortest = Math.min(image.width, image.height);
  const long = Math.trunc((size * Math.max(image.width, image.height)) / shortest);
  return image.width <= image.height ? resize(image, size, long, filter) : resize(image, long, size, filter);
}

function taps(inputSize: number, outputSize: number, filter: Filter): Taps {
  const scale = inputSize / outputSize;
  const filterScale = Math.max(1, scale);
  const support = filter.support * filterScale;
  const width = Math.ceil(support) * 2 + 1;
  const start = new Int32Array(outputSize);
  const count = new Int32Array(outputSize);
  const weights = new Int32Array(outputSize * width);
  const exact = new Float64Array(width);
  const inverse = 1 / filterScale;
  for (let out = 0; out < outputSize; out++) {
    const center = (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const taken = Math.min(inputSize, Math.trunc(center + support + 0.5)) - first;
    let sum = 0;
    for (let i = 0; i < taken; i++) sum += exact[i] = filter.weight((i + first - center + 0.5) * inverse);
    start[out] = first;
    count[out] = taken;
    for (let i = 0; i < taken; i++) {
      const scaled = (sum === 0 ? exact[i]! : exact[i]! / sum) * 2 ** PRECISION_BITS;
      weights[out * width + i] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
  }
  return { start, count, weights, width };
}

/** Fixed point to 8 bits, clamped. */
function clip(sum: number): number {
  const value = sum >> PRECISION_BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

const HALF = 1 << (PRECISION_BITS - 1);

function horizontal(image: RgbImage, { start, count, weights, width: tapWidth }: Taps, width: number): RgbImage {
  const data = new Uint8Array(width * image.height * 3);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      let red = HALF, green = HALF, blue = HALF;
      let at = (y * image.width + start[x]!) * 3;
      for (let i = 0; i < count[x]!; i++, at += 3) {
        const weight = weights[x * tapWidth + i]!;
        red += image.data[at]! * weight;
        green += image.data[at + 1]! * weight;
        blue += image.data[at + 2]! * weight;
      }
      const to = (y * width + x) * 3;
      data[to] = clip(red);
      data[to + 1] = clip(green);
      data[to + 2] = clip(blue);
    }
  }
  return { data, width, height: image.height };
}

function vertical(image: RgbImage, { start, count, weights, width: tapWidth }: Taps, height: number): RgbImage {
  const row = image.width * 3;
  const data = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < row; x++) {
      let sum = HALF;
      for (let i = 0; i < count[y]!; i++) sum += image.data[(start[y]! + i) * row + x]! * weights[y * tapWidth + i]!;
      data[y * row + x] = clip(sum);
    }
  }
  return { data, width: image.width, height };
}

function nearest(image: RgbImage, width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  const columns = nearestIndices(image.width, width);
  nearestIndices(image.height, height).forEach((sourceY, y) => {
    columns.forEach((sourceX, x) => {
      const at = (sourceY * image.width + sourceX) * 3;
      data.set(image.data.subarray(at, at + 3), (y * width + x) * 3);
    });
  });
  return { data, width, height };
}

/** Steps from sample centre to sample centre by adding, as Pillow does: its rounding decides which of two neighbours is taken. */
function nearestIndices(inputSize: number, outputSize: number): Int32Array {
  const step = inputSize / outputSize;
  let position = step * 0.5;
  return new Int32Array(outputSize).map(() => {
    const index = Math.min(inputSize - 1, Math.trunc(position));
    position += step;
    return index;
  });
}
