import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { PNG } from "pngjs";
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
import { crc32, readChunks, textChunk, writeChunks } from "../../../engine/formats/picture/png-chunks.ts";
import { decodePng, encodePng, readPngTexts } from "../../../engine/formats/picture/png.ts";
import { PIL_FILTERS, resize, resizeShortestEdge, type ResizeFilter } from "../../../engine/formats/picture/resize.ts";
import { bytesOf, expected, fixtureBytes, fuzz, FUZZ_ROUNDS, randomNumbers, rejects } from "../support.ts";

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

test("PNG of every kind decodes to Pillow's RGB", async () => {
  for (const [name, want] of Object.entries(expected.png)) {
    const image = await decodePng(`${name}.png`, fixtureBytes(`png/${name}.png`));
    assert.equal([image.width, image.height, sha256(image.data)], [want.width, want.height, want.sha256], name);
  }
});

test("round trip with texts; the same input gives the same bytes", async () => {
  const texts = { parameters: "a church\nSteps: 25, Seed: 7", prompt: "église ⛪ \u0000", empty: "" };
  const image = noise(31, 17);
  const bytes = encodePng(image, texts);
  assert.equal(await decodePng("x", bytes), image);
  assert.equal(Object.fromEntries(await readPngTexts("x", bytes)), texts);
  assert.equal(encodePng(image, texts), bytes);
  assert.equal([...PNG.sync.read(Buffer.from(bytes)).data.subarray(0, 3)], [...image.data.subarray(0, 3)]); // pngjs checks every CRC
  assert.throws(() => encodePng(image, { "": "x" }), /keyword "" should have 1 to 79/);
  assert.throws(() => encodePng({ ...image, width: 30 }), /need 1530 bytes, got 1581/);
  assert.is(crc32(bytesOf("123456789")), 0xcbf43926);
});

test("texts as Pillow wrote them, compressed ones too", async () => {
  assert.equal(Object.fromEntries(await readPngTexts("x", fixtureBytes("png/texts.png"))), expected.texts);
});

test("what is not a picture is told so", async () => {
  const cases: [Uint8Array, RegExp][] = [
    [bytesOf(), /is no PNG image: it is empty/],
    [bytesOf(0xff, 0xd8, 0xff, 0xe0, 0, 16, "JFIF"), /is no PNG image: it looks like a JPEG image/],
    [bytesOf("<!doctype html><html>"), /an HTML page; was a download answered/],
    [bytesOf("version https://git-lfs.github.com/spec/v1\n"), /a Git LFS pointer/],
    [bytesOf("hello there\n"), /it looks like text: "hello there/],
    [bytesOf(1, 2, 3, 4), /it begins with 01 02 03 04/],
  ];
  for (const [bytes, pattern] of cases) await rejects(() => decodePng("x.file", bytes), pattern);
});

test("hostile PNG: truncation, checksums, impossible sizes, bombs", async () => {
  const good = encodePng(noise(13, 7), { a: "b" });
  for (let length = 8; length < good.length; length += 5) {
    await rejects(() => decodePng("x.file", good.subarray(0, length)), /truncated|corrupt/);
  }
  await rejects(() => decodePng("x.file", good.with(60, good[60]! ^ 1)), /fails its checksum/);
  const chunks = readChunks("x", good);
  const header = (width: number, height: number, depth = 8, colour = 2, interlace = 0): Uint8Array<ArrayBuffer> => {
    const data = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, depth, colour, 0, 0, interlace);
    new DataView(data.buffer).setUint32(0, width);
    new DataView(data.buffer).setUint32(4, height);
    return writeChunks([{ type: "IHDR", data }, ...chunks.slice(1)]);
  };
  await rejects(() => decodePng("x.file", header(0, 7)), /0x7 pixels/);
  await rejects(() => decodePng("x.file", header(0xffffffff, 0xffffffff)), /1 to 67108864 pixels are allowed/);
  await rejects(() => decodePng("x.file", header(8000, 8000)), /more than its \d+ bytes of image data can hold/);
  await rejects(() => decodePng("x.file", header(13, 7, 3)), /bit depth 3/);
  await rejects(() => decodePng("x.file", header(13, 7, 8, 5)), /colour type 5/);
  await rejects(() => decodePng("x.file", header(14, 7)), /PNG cannot be decoded|truncated/);
  await rejects(() => decodePng("x.file", header(5, 3)), /./);
  await rejects(() => decodePng("x.file", writeChunks(chunks.filter((chunk) => chunk.type !== "IDAT"))), /./);
  // An interlaced picture of 8x8 pixels whose data unpacks to 64 MB.
  const bomb = new Uint8Array(
    await new Response(new Blob([new Uint8Array(2 ** 26)]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer(),
  );
  const interlaced = readChunks("x", header(8, 8, 8, 2, 1)).map((chunk) => (chunk.type === "IDAT" ? { type: "IDAT", data: bomb } : chunk));
  await rejects(() => decodePng("x.file", writeChunks(interlaced)), /unpacks to more than the \d+ bytes/);
  const packedText = { type: "zTXt", data: bytesOf("a", 0, 0, bomb) };
  await rejects(
    () => readPngTexts("x.file", writeChunks([chunks[0]!, packedText, ...chunks.slice(1)])),
    /unpacks to more than the 1048576 bytes/,
  );
  assert.is(textChunk("a", "b").type, "tEXt");
});

/** Damaged data with checksums made right again, so that damage reaches the decoder. */
function repaired(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 8 + view.getUint32(at);
    if (end + 4 > bytes.length) break;
    view.setUint32(end, crc32(bytes.subarray(at + 4, end)));
    at = end + 4;
  }
  return bytes;
}

for (const name of ["rgb", "palette", "rgb16", "interlaced", "texts"]) {
  test(`${FUZZ_ROUNDS} mutations of ${name}.png: always a FormatError or a picture`, async () => {
    const refused = await fuzz(fixtureBytes(`png/${name}.png`), async (bytes) => {
      await decodePng("x", repaired(bytes));
      await readPngTexts("x", repaired(bytes));
    });
    assert.ok(refused > FUZZ_ROUNDS / 10, `only ${refused} refused`);
  });
}

test("a bundled target picture", async () => {
  const image = await decodePng("x.file", new Uint8Array(readFileSync("assets/emoji/dataset/church/imgs/0_0.png")));
  assert.equal([image.width, image.height], [64, 64]);
  await rejects(async () => requireSize("x.file", image, 512, 512), /is 64x64 pixels, expected 512x512/);
  const random = randomNumbers(3);
  assert.ok(image.data.some((value) => value !== image.data[Math.floor(random() * image.data.length)]));
});

test.run();
