/** Resizes against what the libraries gave: Pillow 12.0's mode F and 8 bits, and torch's interpolate, of a picture of 7x5 pixels to 4x3. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cropSquare } from "../../../engine/formats/picture/image.ts";
import { resizeOpenCvFloat, resizePillowFloat, resizeTorchBilinear } from "../../../engine/formats/picture/resize-float.ts";
import { resize } from "../../../engine/formats/picture/resize.ts";

const image = { data: Uint8Array.from({ length: 105 }, (_, i) => (i * 37) % 256), width: 7, height: 5 };

const PILLOW_F = [
  57.37193, 87.25606, 124.25606, 169.46886, 64.22039, 105.65499, 128.71423, 170.14885, 64.90038, 110.11317, 147.11317, 176.9973,
  72.4521, 102.07144, 139.07144, 189.57721, 78.87077, 120.47038, 143.36461, 190.2572, 79.36134, 124.92856, 162.19333, 197.06462,
  82.84265, 116.88683, 153.88683, 115.93898, 96.4437, 135.28577, 160.93755, 116.61897, 100.09974, 139.74394, 172.58389, 124.11207,
];
const PILLOW_8 = [
  57, 87, 124, 169, 64, 105, 129, 170, 65, 110, 147, 177, 72, 102, 139, 189, 79, 120, 144, 190, 80, 125, 162, 197, 83, 117, 154,
  116, 96, 135, 161, 117, 100, 140, 173, 124,
];
const TORCH = [
  44.625, 81.625, 118.625, 206.875, 19.875, 56.875, 177.125, 214.12502, 27.125, 115.375, 152.375, 189.375, 59.625, 96.625,
  133.625, 221.875, 34.875, 71.875, 192.125, 229.125, 42.125, 130.375, 167.375, 204.375, 74.625, 111.625, 148.625, 87.54169,
  49.875, 86.875, 207.125, 94.7917, 57.125, 145.375, 182.375, 112.70837,
];

function close(actual: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  assert.is(actual.length, expected.length);
  expected.forEach((x, i) => assert.ok(Math.abs(actual[i]! - x) <= tolerance, `${i}: ${actual[i]}, expected ${x}`));
}

test("Pillow: with fractions, and in 8 bits with rounding between the passes", () => {
  close(resizePillowFloat(image, 4, 3, "bicubic").data, PILLOW_F, 1e-4);
  assert.equal([...resize(image, 4, 3, "bicubic").data], PILLOW_8);
  assert.equal([...resizePillowFloat(image, 7, 5, "bicubic").data], [...image.data], "a size that stays is a copy");
});

test("torch's bilinear: two samples a side however much the picture shrinks; OpenCV's of floats places them alike", () => {
  close(resizeTorchBilinear(image, 4, 3).data, TORCH, 1e-4);
  close(resizeOpenCvFloat(image, 4, 3).data, TORCH, 1e-3);
  close(resizeTorchBilinear({ data: [1, 2, 3], width: 1, height: 1 }, 2, 2).data, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3], 0);
});

test("the middle square: of an odd margin the smaller half comes first", () => {
  const square = cropSquare({ data: Uint8Array.from({ length: 5 * 2 * 3 }, (_, i) => i), width: 5, height: 2 });
  assert.equal([square.width, square.height], [2, 2]);
  assert.equal([...square.data], [3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 22, 23]);
});

test.run();
