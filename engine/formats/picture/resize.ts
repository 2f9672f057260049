/**
 * Resampling of 8-bit pictures exactly as Pillow's `Image.resize` does: antialiased when shrinking, horizontal pass first, each pass in
 * 22-bit fixed point and rounded to 8 bits. Targets and classifier inputs of the field went through it. Source: Pillow 10,
 * src/libImaging/Resample.c.
 */
import type { RgbImage } from "./image.ts";
import { type Resampling, type ResamplingTaps, type Rounding, resampleColumns, resampleRows, resamplingTaps } from "./resampling.ts";

export type ResizeFilter = "nearest" | Resampling;

/** Pillow's numbers, as `resample` in a preprocessor config. */
export const PIL_FILTERS: readonly ResizeFilter[] = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];

const PRECISION_BITS = 22;

/** Resamples to `width` x `height` pixels. @throws RangeError unless both are whole numbers >= 1. */
export function resize(image: RgbImage, width: number, height: number, filter: ResizeFilter): RgbImage {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new RangeError(`resize: cannot make ${width}x${height} pixels`);
  }
  if (image.width === width && image.height === height) return image;
  if (filter === "nearest") return nearest(image, width, height);
  const wide = image.width === width ? image : resampleRows(image, taps(image.width, width, filter), width, BYTES);
  return wide.height === height ? wide : resampleColumns(wide, taps(wide.height, height, filter), height, BYTES);
}

/** torchvision's `Resize(size)`: the shorter edge becomes `size`, the longer keeps the aspect ratio, cut to whole pixels. */
export function resizeShortestEdge(image: RgbImage, size: number, filter: ResizeFilter): RgbImage {
  const shortest = Math.min(image.width, image.height);
  const long = Math.trunc((size * Math.max(image.width, image.height)) / shortest);
  return image.width <= image.height ? resize(image, size, long, filter) : resize(image, long, size, filter);
}

/** A filter's weights times 2^22, in fixed point. */
function taps(inputSize: number, outputSize: number, filter: Resampling): ResamplingTaps {
  const { weights, ...places } = resamplingTaps(inputSize, outputSize, filter);
  return { ...places, weights: Int32Array.from(weights, (w) => Math.trunc(w * 2 ** PRECISION_BITS + (w < 0 ? -0.5 : 0.5))) };
}

/** Fixed point to 8 bits, clamped. */
function clip(sum: number): number {
  const value = sum >> PRECISION_BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

const BYTES: Rounding<Uint8Array<ArrayBuffer>> = { make: (length) => new Uint8Array(length), start: 1 << (PRECISION_BITS - 1), end: clip };

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
