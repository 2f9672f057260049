/**
 * Resizes that keep fractions: Pillow's mode F, torch's bilinear interpolation and OpenCV's of floats. Each library's rounding is kept,
 * since the distances between sets of pictures move with it. Pictures are channels last.
 */
import {
  type Pixels, type Resampling, type ResamplingTaps, type Rounding, resampleColumns, resampleRows, resamplingTaps,
} from "./resampling.ts";

type FloatImage = Pixels<Float32Array<ArrayBuffer>>;

/** Each pass is rounded to float32. */
const FLOAT: Rounding<Float32Array<ArrayBuffer>> = { make: (length) => new Float32Array(length), start: 0, end: (sum) => sum };

/**
 * Pillow's `Image.resize` of each channel in mode F: sums in float64, rounded to float32 after each of the two passes, not clipped.
 * Source: Pillow 9.4, src/libImaging/Resample.c, ImagingResampleHorizontal_32bpc and Vertical_32bpc.
 */
export function resizePillowFloat(image: Pixels, width: number, height: number, filter: Resampling): FloatImage {
  const wide = image.width === width ? asFloat(image) : resampleRows(image, resamplingTaps(image.width, width, filter), width, FLOAT);
  return wide.height === height ? wide : resampleColumns(wide, resamplingTaps(wide.height, height, filter), height, FLOAT);
}

/**
 * torch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing: two samples a side, whatever the scale.
 * Source: torch 1.13 aten/src/ATen/native/UpSample.h, area_pixel_compute_source_index; positions in float32, as there.
 */
export function resizeTorchBilinear(image: Pixels, width: number, height: number): FloatImage {
  const taps = (from: number, to: number): ResamplingTaps => {
    const scale = Math.fround(from / to);
    return pairs(from, to, (out) => Math.fround(scale * (out + 0.5)) - 0.5);
  };
  return resampledFloat(image, taps, width, height);
}

/**
 * `cv2.resize` of float32 with its default interpolation, bilinear without antialiasing: positions and weights in float32.
 * Source: OpenCV 4, modules/imgproc/src/resize.cpp (HResizeLinear, VResizeLinear).
 */
export function resizeOpenCvFloat(image: Pixels, width: number, height: number): FloatImage {
  if (image.width === width && image.height === height) return asFloat(image);
  const taps = (from: number, to: number): ResamplingTaps => pairs(from, to, (out) => (out + 0.5) * (from / to) - 0.5);
  return resampledFloat(image, taps, width, height);
}

function resampledFloat(image: Pixels, taps: (from: number, to: number) => ResamplingTaps, width: number, height: number): FloatImage {
  return resampleColumns(resampleRows(image, taps(image.width, width), width, FLOAT), taps(image.height, height), height, FLOAT);
}

function asFloat({ data, width, height }: Pixels): FloatImage {
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
