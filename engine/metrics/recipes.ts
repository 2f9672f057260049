import { type RgbImage, cropSquare } from "../formats/picture/image.ts";
import { resizeOpenCv } from "../formats/picture/opencv-resize.ts";
import { resizeOpenCvFloat, resizePillowFloat, resizeTorchBilinear } from "../formats/picture/resize-float.ts";
import { resize } from "../formats/picture/resize.ts";
import { INCEPTION_SIZE, type InceptionVariant } from "../vision/inception.ts";

/** How one of the field's tools brings a picture to the network. Numbers of two recipes are never comparable. */
export interface Recipe {
  /** One sentence: what it is, and the code it follows. */
  readonly help: string;
  readonly network: InceptionVariant;
  /** The mean is summed and kept in float32, as numpy's `mean` of float32 rows is. */
  readonly meanPrecision: "float32" | "float64";
  /** Numbers [299, 299, 3] of one picture, as the network takes them. */
  readonly prepare: (image: RgbImage) => Float32Array<ArrayBuffer>;
}

const SIZE = INCEPTION_SIZE;

/** 2 x - 1 in float32 of x in [0, 1]: every number is rounded after each step, as torch does. */
const twice = (x: number): number => Math.fround(Math.fround(2 * x) - 1);

/** Of torchvision's `transform_input`: from the normalisation of ImageNet to that of the network, for each channel. */
const IMAGENET_TO_INCEPTION = [
  [0.229 / 0.5, (0.485 - 0.5) / 0.5],
  [0.224 / 0.5, (0.456 - 0.5) / 0.5],
  [0.225 / 0.5, (0.406 - 0.5) / 0.5],
] as const;

/** torchvision's `transform_input` of numbers [.., 3], in float32. Source: torchvision 0.14 models/inception.py:117-123 */
export function transformInput(data: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(data, (x, i) => {
    const [scale, shift] = IMAGENET_TO_INCEPTION[i % 3]!;
    return Math.fround(x * scale) + shift;
  });
}

/** Pixels 0 to 255 that T2IBenchmark gives the network. */
export function t2iPicture(image: RgbImage): RgbImage {
  return resize(cropSquare(image), SIZE, SIZE, "bicubic");
}

/** Numbers 0 to 255 that clean-fid gives the network, with fractions. */
export function cleanPicture(image: RgbImage): Float32Array<ArrayBuffer> {
  return resizePillowFloat(image, SIZE, SIZE, "bicubic").data.map((v) => Math.min(255, Math.max(0, v)));
}

/** Numbers 0 to 1 that pytorch-fid's network makes of a picture. */
export function torchPicture({ data, width, height }: RgbImage): Float32Array<ArrayBuffer> {
  return resizeTorchBilinear({ data: Float32Array.from(data, (v) => v / 255), width, height }, SIZE, SIZE).data;
}

/** Pixels that UnlearnCanvas brings every picture to first. */
const CANVAS_SIZE = 512;

/** Numbers 0 to 1 that UnlearnCanvas gives the network. */
export function canvasPicture(image: RgbImage): Float32Array<ArrayBuffer> {
  const { data, width, height } = resizeOpenCv(image, CANVAS_SIZE, CANVAS_SIZE);
  return resizeOpenCvFloat({ data: Float32Array.from(data, (v) => v / 255), width, height }, SIZE, SIZE).data;
}

/** By name. Sources: the table in docs/quality.md names file and line of each. */
export const RECIPES = {
  t2ibenchmark: {
    help: "the public table's: centre square, Pillow bicubic to 299x299 in 8 bits, FID's Inception (T2IBenchmark)",
    network: "fid",
    meanPrecision: "float32",
    prepare: (image) => Float32Array.from(t2iPicture(image).data, (v) => twice(Math.fround(v / 255))),
  },
  "clean-fid": {
    help: "no crop, Pillow bicubic with fractions, FID's Inception (clean-fid's mode clean)",
    network: "fid",
    meanPrecision: "float32",
    prepare: (image) => cleanPicture(image).map((v) => Math.fround(v - 128) / 128),
  },
  "pytorch-fid": {
    help: "no crop, bilinear without antialiasing, FID's Inception (pytorch-fid's command)",
    network: "fid",
    meanPrecision: "float64",
    prepare: (image) => torchPicture(image).map(twice),
  },
  unlearncanvas: {
    help: "OpenCV bilinear to 512x512 and to 299x299, torchvision's Inception (UnlearnCanvas)",
    network: "torchvision",
    meanPrecision: "float32",
    prepare: (image) => transformInput(canvasPicture(image).map(twice)),
  },
} as const satisfies Readonly<Record<string, Recipe>>;

export type RecipeName = keyof typeof RECIPES;
export const RECIPE_NAMES = Object.keys(RECIPES) as readonly RecipeName[];
