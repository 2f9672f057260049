import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  centerCrop,
  imagesToTensor,
  normalizeImage,
  requireSize,
  tensorToImages,
  type RgbImage,
} from "../../../engine/formats/picture/image.ts";
import { decodePng } from "../../../engine/platform/picture/png-codec.ts";
import { PIL_FILTERS, resize, resizeShortestEdge, type ResizeFilter } from "../../../engine/formats/picture/resize.ts";
import { expected, randomNumbers, rejects } from "../support.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** The noise of make.py. */
function noise(width: number, height: number): RgbImage {
  let x = 1;
  const data = Uint8Array.from({ length: width * height * 3 }, () => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) >>> 24);
  return { data, width, height };
}

test(`resize gives Pillow's bytes in ${expected.resize.length} cases`, () => {
  for (const { from, to, filter, sha256: want } of expected.resize) {
    const out = resize(noise(...from), ...to, filter as ResizeFilter);
    assert.equal([out.width, out.height, sha256(out.data)], [...to, want], `${from.join("x")} to ${to.join("x")}, ${filter}`);
  }
});

test("resize of the same size, the shortest edge, Pillow's numbers, and impossible sizes", () => {
  const image = noise(37, 29);
  assert.is(resize(image, 37, 29, "bicubic"), image);
  const edge = resizeShortestEdge(image, 16, "bilinear");
  assert.equal([edge.width, edge.height], [20, 16]);
  const tall = resizeShortestEdge(noise(29, 37), 16, "bilinear");
  assert.equal([tall.width, tall.height], [16, 20]);
  assert.equal([PIL_FILTERS[2], PIL_FILTERS[3], PIL_FILTERS[1]], ["bilinear", "bicubic", "lanczos"]);
  for (const size of [0, -1, 1.5, NaN]) assert.throws(() => resize(image, size, 4, "box"), RangeError);
});

const pixel = (out: RgbImage, x: number, y: number): number[] => [
  ...out.data.subarray((y * out.width + x) * 3, (y * out.width + x) * 3 + 3),
];

test("centre crop rounds as torchvision or transformers, and pads with black", () => {
  const image = noise(7, 5);
  assert.equal(pixel(centerCrop(image, 4, 4), 0, 0), pixel(image, 2, 0)); // 1.5 to 2 and 0.5 to 0: half to even
  assert.equal(pixel(centerCrop(image, 4, 4, "floor"), 0, 0), pixel(image, 1, 0));
  const padded = centerCrop(image, 9, 9);
  assert.equal([pixel(padded, 0, 0), pixel(padded, 1, 2)], [[0, 0, 0], pixel(image, 0, 0)]);
});

test("pictures to tensors in [-1, 1] and back, and what rounding does", () => {
  const images = [noise(5, 4), resize(noise(9, 9), 5, 4, "box")];
  const { data, shape } = imagesToTensor(images);
  assert.equal(shape, [2, 3, 4, 5]);
  assert.is(data[20 * 3 + 2 * 20 + 7], Math.fround(2 * Math.fround(images[1]!.data[7 * 3 + 2]! / 255) - 1));
  const back = tensorToImages(data, shape);
  back.forEach((image, i) => assert.equal(image.data, images[i]!.data));
  const values = Float32Array.from([-2, -1, 0, 1, 5, NaN, 0, 0, 0, 0, 0, 0]);
  // 127.5 goes to the even 128
  assert.equal([...tensorToImages(values, [1, 3, 2, 2])[0]!.data].filter((_, i) => i % 3 === 0), [0, 0, 128, 255]);
  assert.throws(() => imagesToTensor([noise(5, 4), noise(4, 5)]), /image 1 is 4x5, the first 5x4/);
  assert.throws(() => tensorToImages(values, [1, 3, 2, 3]), /expected \[images, 3, height, width\]/);
  const normal = normalizeImage({ data: Uint8Array.of(0, 51, 255), width: 1, height: 1 }, 1 / 255, [0.5, 0.4, 0.3], [0.5, 0.2, 0.1]);
  [-1, -1, 7].forEach((want, i) => assert.ok(Math.abs(normal.data[i]! - want) < 1e-6));
});

test("a bundled target picture", async () => {
  const image = await decodePng("x.file", new Uint8Array(readFileSync("assets/emoji/dataset/church/imgs/0_0.png")));
  assert.equal([image.width, image.height], [64, 64]);
  await rejects(async () => requireSize("x.file", image, 512, 512), /is 64x64 pixels, expected 512x512/);
  const random = randomNumbers(3);
  assert.ok(image.data.some((value) => value !== image.data[Math.floor(random() * image.data.length)]));
});

test.run();
