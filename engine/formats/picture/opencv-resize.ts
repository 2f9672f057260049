/**
 * OpenCV's bilinear resize of 8-bit pictures, bit for bit: two taps whatever the scale (no antialiasing), 11-bit weights, and the rounding
 * of its vertical pass. Detectors of the field see pictures through it. Source: OpenCV 4, modules/imgproc/src/resize.cpp (resizeGeneric_,
 * HResizeLinear, VResizeLinear).
 */
import { type RgbImage, roundHalfEven } from "./image.ts";

const WEIGHT_ONE = 2048; // INTER_RESIZE_COEF_SCALE

interface Taps {
  readonly first: Int32Array;
  readonly second: Int32Array;
  readonly firstWeight: Int32Array;
  readonly secondWeight: Int32Array;
}

/**
 * `clampWeight`: outside of the picture the nearest pixel counts fully (rows); otherwise both taps fall on the edge with their own weights
 * (columns of OpenCV's vertical pass).
 */
function taps(from: number, to: number, clampWeight: boolean): Taps {
  const scale = 1 / (to / from);
  const result = {
    first: new Int32Array(to),
    second: new Int32Array(to),
    firstWeight: new Int32Array(to),
    secondWeight: new Int32Array(to),
  };
  for (let out = 0; out < to; out++) {
    const position = Math.fround((out + 0.5) * scale - 0.5);
    let index = Math.floor(position);
    let fraction = Math.fround(position - index);
    if (clampWeight && (index < 0 || index >= from - 1)) {
      index = index < 0 ? 0 : from - 1;
      fraction = 0;
    }
    result.first[out] = Math.min(Math.max(index, 0), from - 1);
    result.second[out] = Math.min(Math.max(index + 1, 0), from - 1);
    result.firstWeight[out] = roundHalfEven(Math.fround(1 - fraction) * WEIGHT_ONE);
    result.secondWeight[out] = roundHalfEven(fraction * WEIGHT_ONE);
  }
  return result;
}

/** `cv2.resize(image, (width, height))` with its default interpolation. @throws RangeError unless both are whole numbers >= 1. */
export function resizeOpenCv(image: RgbImage, width: number, height: number): RgbImage {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new RangeError(`resize: cannot make ${width}x${height} pixels`);
  }
  if (image.width === width && image.height === height) return image;
  const columns = taps(image.width, width, true);
  const rows = taps(image.height, height, false);
  const row = width * 3;
  const wide = new Int32Array(row * image.height);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      const a = (y * image.width + columns.first[x]!) * 3;
      const b = (y * image.width + columns.second[x]!) * 3;
      for (let c = 0; c < 3; c++) {
        wide[y * row + x * 3 + c] = image.data[a + c]! * columns.firstWeight[x]! + image.data[b + c]! * columns.secondWeight[x]!;
      }
    }
  }
  const data = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) {
    const a = rows.first[y]! * row;
    const b = rows.second[y]! * row;
    const [above, below] = [rows.firstWeight[y]!, rows.secondWeight[y]!];
    for (let x = 0; x < row; x++) {
      data[y * row + x] = (((above * (wide[a + x]! >> 4)) >> 16) + ((below * (wide[b + x]! >> 4)) >> 16) + 2) >> 2;
    }
  }
  return { data, width, height };
}
