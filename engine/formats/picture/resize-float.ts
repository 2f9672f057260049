/**
 * Resizes that keep fractions: Pillow's mode F, torch's bilinear interpolation and OpenCV's of floats. Each library's rounding is kept,
 * since the distances between sets of pictures move with it. Pictures are channels last.
 */
import { type Resampling, type ResamplingTaps, resamplingTaps } from "./resampling.ts";

/** height * width * 3 numbers, row by row from the top left, R G B. */
export interface FloatImage {
  readonly data: Float32Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/** What a picture of bytes or floats is made of. */
type AnyImage = { readonly data: ArrayLike<number>; readonly width: number; readonly height: number };

/**
 * Pillow's `Image.resize` of each channel in mode F: sums in float64, rounded to float32 after each of the two passes, not clipped.
 * Source: Pillow 9.4, src/libImaging/Resample.c, ImagingResampleHorizontal_32bpc and Vertical_32bpc.
 */
export function resizePillowFloat(image: AnyImage, width: number, height: number, filter: Resampling): FloatImage {
  const wide = image.width === width ? asFloat(image) : horizontal(image, resamplingTaps(image.width, width, filter), width);
  return wide.height === height ? wide : vertical(wide, resamplingTaps(wide.height, height, filter), height);
}

/**
 * torch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing: two samples a side, whatever the scale.
 * Source: torch 1.13 aten/src/ATen/native/UpSample.h, area_pixel_compute_source_index; positions in float32, as there.
 */
export function resizeTorchBilinear(image: AnyImage, width: number, height: number): FloatImage {
  const taps = (from: number, to: number): ResamplingTaps => {
    const scale = Math.fround(from / to);
    return pairs(from, to, (out) => Math.fround(scale * (out + 0.5)) - 0.5);
  };
  return vertical(horizontal(image, taps(image.width, width), width), taps(image.height, height), height);
}

/**
 * `cv2.resize` of float32 with its default interpolation, bilinear without antialiasing: positions and weights in float32.
 * Source: OpenCV 4, modules/imgproc/src/resize.cpp (HResizeLinear, VResizeLinear).
 */
export function resizeOpenCvFloat(image: AnyImage, width: number, height: number): FloatImage {
  if (image.width === width && image.height === height) return asFloat(image);
  const taps = (from: number, to: number): ResamplingTaps => pairs(from, to, (out) => (out + 0.5) * (from / to) - 0.5);
  return vertical(horizontal(image, taps(image.width, width), width), taps(image.height, height), height);
}

function asFloat({ data, width, height }: AnyImage): FloatImage {
  return { data: Float32Array.from(data), width, height };
}

/** Two neighbouring samples with float32 weights by their distance from where the output sample lies; at the edge one of them alone. */
function pairs(from: number, to: number, place: (out: number) => number): ResamplingTaps {
  const taps = { start: new Int32Array(to), count: new Int32Array(to).fill(2), weights: new Float64Array(to * 2), width: 2 };
  for (let out = 0; out < to; out++) {
    const position = Math.min(from - 1, Math.max(0, Math.fround(place(out))));
    const first = Math.min(Math.floor(position), Math.max(0, from - 2));
    const fraction = Math.fround(position - first);
    taps.start[out] = first;
    taps.weights[2 * out] = Math.fround(1 - fraction);
    if (from === 1) taps.count[out] = 1;
    else taps.weights[2 * out + 1] = fraction;
  }
  return taps;
}

function horizontal(image: AnyImage, { start, count, weights, width: tapWidth }: ResamplingTaps, width: number): FloatImage {
  const data = new Float32Array(width * image.height * 3);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      let red = 0, green = 0, blue = 0;
      let at = (y * image.width + start[x]!) * 3;
      for (let i = 0; i < count[x]!; i++, at += 3) {
        const weight = weights[x * tapWidth + i]!;
        red += image.data[at]! * weight;
        green += image.data[at + 1]! * weight;
        blue += image.data[at + 2]! * weight;
      }
      const to = (y * width + x) * 3;
      data[to] = red;
      data[to + 1] = green;
      data[to + 2] = blue;
    }
  }
  return { data, width, height: image.height };
}

function vertical(image: FloatImage, { start, count, weights, width: tapWidth }: ResamplingTaps, height: number): FloatImage {
  const row = image.width * 3;
  const data = new Float32Array(row * height);
  const sums = new Float64Array(row);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let i = 0; i < count[y]!; i++) {
      const weight = weights[y * tapWidth + i]!;
      const from = (start[y]! + i) * row;
      for (let x = 0; x < row; x++) sums[x]! += image.data[from + x]! * weight;
    }
    data.set(sums, y * row);
  }
  return { data, width: image.width, height };
}
