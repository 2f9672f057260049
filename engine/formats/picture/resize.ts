/**
 * Resampling of 8-bit pictures exactly as Pillow's `Image.resize` does: antialiased when shrinking, horizontal pass first, each pass in
 * 22-bit fixed point and rounded to 8 bits. Targets and classifier inputs of the field went through it. Source: Pillow 10,
 * src/libImaging/Resample.c.
 */
import type { RgbImage } from "./image.ts";
import { type Resampling, type ResamplingTaps, resamplingTaps } from "./resampling.ts";

export type ResizeFilter = "nearest" | Resampling;

/** Pillow's numbers, as `resample` in a preprocessor config. */
export const PIL_FILTERS: readonly ResizeFilter[] = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];

const PRECISION_BITS = 22;

/** Weights times 2^22. */
type Taps = Omit<ResamplingTaps, "weights"> & { readonly weights: Int32Array };

/** Resamples to `width` x `height` pixels. @throws RangeError unless both are whole numbers >= 1. */
export function resize(image: RgbImage, width: number, height: number, filter: ResizeFilter): RgbImage {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new RangeError(`resize: cannot make ${width}x${height} pixels`);
  }
  if (image.width === width && image.height === height) return image;
  if (filter === "nearest") return nearest(image, width, height);
  const wide = image.width === width ? image : horizontal(image, taps(image.width, width, filter), width);
  return wide.height === height ? wide : vertical(wide, taps(wide.height, height, filter), height);
}

/** torchvision's `Resize(size)`: the shorter edge becomes `size`, the longer keeps the aspect ratio, cut to whole pixels. */
export function resizeShortestEdge(image: RgbImage, size: number, filter: ResizeFilter): RgbImage {
  const shortest = Math.min(image.width, image.height);
  const long = Math.trunc((size * Math.max(image.width, image.height)) / shortest);
  return image.width <= image.height ? resize(image, size, long, filter) : resize(image, long, size, filter);
}

/** A filter's weights in fixed point. */
function taps(inputSize: number, outputSize: number, filter: Resampling): Taps {
  const { weights, ...places } = resamplingTaps(inputSize, outputSize, filter);
  return { ...places, weights: Int32Array.from(weights, (w) => Math.trunc(w * 2 ** PRECISION_BITS + (w < 0 ? -0.5 : 0.5))) };
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
