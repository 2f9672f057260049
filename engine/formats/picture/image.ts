/** 8-bit RGB pictures, and their passage to and from the tensors of the models. */
import { FormatError } from "../errors.ts";

/** Of a picture file that is read: 64 million, so that a small file cannot fill the memory. */
export const MAX_PIXELS = 2 ** 26;

export interface RgbImage {
  /** height * width * 3 bytes, row by row from the top left, R G B. */
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/**
 * Pictures of one size to float32 NCHW `[images, 3, height, width]` in [-1, 1], by `2 * (v / 255) - 1` in float32 as diffusers'
 * VaeImageProcessor does.
 * @throws RangeError if there are none or their sizes differ.
 */
export function imagesToTensor(images: readonly RgbImage[]): { data: Float32Array<ArrayBuffer>; shape: number[] } {
  const [first] = images;
  if (!first) throw new RangeError("imagesToTensor: no images");
  const { width, height } = first;
  const plane = width * height;
  const data = new Float32Array(images.length * 3 * plane);
  images.forEach((image, n) => {
    if (image.width !== width || image.height !== height) {
      throw new RangeError(`imagesToTensor: image ${n} is ${image.width}x${image.height}, the first ${width}x${height}`);
    }
    for (let channel = 0; channel < 3; channel++) {
      const base = (n * 3 + channel) * plane;
      for (let i = 0; i < plane; i++) data[base + i] = 2 * Math.fround(image.data[i * 3 + channel]! / 255) - 1;
    }
  });
  return { data, shape: [images.length, 3, height, width] };
}

/**
 * Float32 NCHW `[images, 3, height, width]` in [-1, 1] to pictures: halved, shifted, clamped to [0, 1], times 255, rounded half to even, as
 * diffusers does. NaN becomes 0.
 * @throws RangeError if the shape is another or the data does not fill it.
 */
export function tensorToImages(data: Float32Array, shape: readonly number[]): RgbImage[] {
  const [count = 0, channels, height = 0, width = 0] = shape;
  if (shape.length !== 4 || channels !== 3 || data.length !== count * 3 * height * width) {
    throw new RangeError(`tensorToImages: expected [images, 3, height, width], got [${shape.join(", ")}] with ${data.length} values`);
  }
  const plane = width * height;
  return Array.from({ length: count }, (_, n) => {
    const pixels = new Uint8Array(plane * 3);
    for (let channel = 0; channel < 3; channel++) {
      const base = (n * 3 + channel) * plane;
      for (let i = 0; i < plane; i++) pixels[i * 3 + channel] = toByte(data[base + i]!);
    }
    return { data: pixels, width, height };
  });
}

function toByte(value: number): number {
  const unit = Math.min(1, Math.max(0, Math.fround(Math.fround(value / 2) + 0.5)));
  return roundHalfEven(Math.fround(unit * 255)) || 0;
}

/** To the nearest whole number, ties to the even one (Python's and NumPy's round). */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/**
 * Normalisation of a classifier's preprocessor: `(v * rescale - mean[c]) / std[c]` for each channel, float32 NCHW `[1, 3, height, width]`.
 */
export function normalizeImage(
  image: RgbImage,
  rescale: number,
  mean: readonly number[],
  std: readonly number[],
): { data: Float32Array<ArrayBuffer>; shape: number[] } {
  const plane = image.width * image.height;
  const data = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < plane; i++) {
      data[channel * plane + i] = (Math.fround(image.data[i * 3 + channel]! * rescale) - mean[channel]!) / std[channel]!;
    }
  }
  return { data, shape: [1, 3, image.height, image.width] };
}

/**
 * The middle `width` x `height` of a picture; what lies outside of it is black. An odd margin is halved as `rounding` says:
 * "torchvision" rounds half to even, "floor" is transformers' image processors'.
 */
export function centerCrop(image: RgbImage, width: number, height: number, rounding: "torchvision" | "floor" = "torchvision"): RgbImage {
  const half = rounding === "floor" ? (margin: number) => Math.floor(margin / 2) : (margin: number) => roundHalfEven(margin / 2);
  const left = half(image.width - width);
  const top = half(image.height - height);
  const data = new Uint8Array(width * height * 3);
  const from = Math.max(0, left);
  const to = Math.min(image.width, left + width);
  for (let y = 0; y < height; y++) {
    const sourceY = y + top;
    if (sourceY < 0 || sourceY >= image.height || to <= from) continue;
    data.set(image.data.subarray((sourceY * image.width + from) * 3, (sourceY * image.width + to) * 3), (y * width + from - left) * 3);
  }
  return { data, width, height };
}

/** The middle square of a picture, its shorter side wide; of an odd margin the smaller half lies before it. */
export function cropSquare(image: RgbImage): RgbImage {
  const side = Math.min(image.width, image.height);
  return image.width === image.height ? image : centerCrop(image, side, side, "floor");
}

/** @throws FormatError naming `file` unless the picture is of this size. */
export function requireSize(file: string, image: RgbImage, width: number, height: number): void {
  if (image.width !== width || image.height !== height) {
    throw new FormatError(file, `is ${image.width}x${image.height} pixels, expected ${width}x${height}`);
  }
}

/** The picture as a canvas takes it: R G B and full opacity, 4 * width * height bytes. */
export function rgbaPixels({ data, width, height }: RgbImage): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
    out[to] = data[from]!;
    out[to + 1] = data[from + 1]!;
    out[to + 2] = data[from + 2]!;
  }
  return out;
}
