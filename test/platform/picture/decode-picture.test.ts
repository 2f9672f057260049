/**
 * JPEG and WebP against the pixels that Pillow 13 reads from the same bytes (after ImageOps.exif_transpose and convert("RGB")), and what is
 * refused.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { oriented } from "../../../engine/formats/picture/exif.ts";
import { encodePng } from "../../../engine/platform/picture/png-codec.ts";
import { decodePicture } from "../../../engine/platform/picture/decode-picture.ts";
import { FUZZ_ROUNDS, bytesOf, fuzz, rejects } from "../../formats/support.ts";

interface Expected {
  readonly file: string;
  readonly width: number;
  readonly height: number;
  readonly rgb: string;
}

const fixtures = JSON.parse(readFileSync("test/fixtures/formats/pictures.json", "utf8")) as Record<string, Expected>;
const bytes = (base64: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(base64, "base64"));

for (const [name, { file, width, height, rgb }] of Object.entries(fixtures)) {
  test(`${name}: within 1 level of Pillow`, async () => {
    const image = await decodePicture(`${name}.png`, bytes(file)); // by content, whatever the name
    assert.equal([image.width, image.height], [width, height]);
    const wanted = bytes(rgb);
    assert.is(image.data.length, wanted.length);
    assert.ok(image.data.every((v, i) => Math.abs(v - wanted[i]!) <= 1));
  });
}

test("the eight orientations of EXIF: where the stored top left corner goes", () => {
  const image = { data: new Uint8Array(2 * 3 * 3), width: 2, height: 3 };
  image.data[0] = 255; // the first pixel's red
  const corner = (orientation: number): string => {
    const turned = oriented(image, orientation);
    const at = turned.data.indexOf(255) / 3;
    return `${at % turned.width},${Math.floor(at / turned.width)} of ${turned.width}x${turned.height}`;
  };
  assert.equal([1, 2, 3, 4, 5, 6, 7, 8].map(corner), [
    "0,0 of 2x3",
    "1,0 of 2x3",
    "1,2 of 2x3",
    "0,2 of 2x3",
    "0,0 of 3x2",
    "2,0 of 3x2",
    "2,1 of 3x2",
    "0,1 of 3x2",
  ]);
});

test("other pictures are refused by what they are, damaged ones by what is wrong", async () => {
  const refused: readonly (readonly [Uint8Array<ArrayBuffer>, RegExp])[] = [
    [new Uint8Array(0), /is not a PNG, JPEG or WebP image: it is empty/],
    [bytesOf("BM", new Uint8Array(60)), /a BMP image/],
    [bytesOf("GIF89a", new Uint8Array(20)), /a GIF image/],
    [bytesOf("II*\0", new Uint8Array(20)), /a TIFF image/],
    [bytesOf(0, 0, 0, 32, "ftypavif", new Uint8Array(20)), /an AVIF image/],
    [bytesOf(0, 0, 0, 24, "ftypheic", new Uint8Array(20)), /a HEIC image/],
    [bytesOf('<svg xmlns="http://www.w3.org/2000/svg"></svg>'), /an SVG image/],
    [bytesOf('<?xml version="1.0"?><svg></svg>'), /an SVG image/],
    [bytesOf("RIFF", 36, 0, 0, 0, "WAVEfmt ", new Uint8Array(40)), /is not a PNG, JPEG or WebP/],
  ];
  for (const [data, pattern] of refused) await rejects(() => decodePicture("x.file", data), pattern);
  const jpeg = bytes(fixtures["jpeg-420"]!.file);
  await rejects(() => decodePicture("x.file", jpeg.slice(0, jpeg.length - 40)), /truncated/);
  await rejects(() => decodePicture("x.file", jpeg.slice(0, 30)), /truncated|damaged/);
  const webp = bytes(fixtures["webp-lossy"]!.file);
  await rejects(() => decodePicture("x.file", webp.slice(0, webp.length - 9)), /is a WebP of \d+ bytes of which \d+ are there/);
  const start = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
  const frame = (change: Readonly<Record<number, number>>): Uint8Array<ArrayBuffer> => jpeg.map((byte, i) => change[i - start] ?? byte);
  await rejects(() => decodePicture("x.file", frame({ 5: 255, 6: 255, 7: 255, 8: 255 })), /has 65535x65535 pixels/);
  await rejects(() => decodePicture("x.file", frame({ 9: 4 })), /is a CMYK JPEG/);
  await rejects(() => decodePicture("x.file", frame({ 4: 12 })), /12 bits a channel/);
  await rejects(() => decodePicture("x.file", frame({ 1: 0xc3 })), /SOF3: lossless/);
});

test("PNG goes the way it went", async () => {
  const image = { data: Uint8Array.from({ length: 27 }, (_, i) => i * 9), width: 3, height: 3 };
  assert.equal(await decodePicture("x", encodePng(image)), image);
});

for (const name of ["jpeg-420", "webp-lossy", "webp-lossless-alpha-5"]) {
  test(`${FUZZ_ROUNDS} mutations of ${name}: a FormatError or a picture`, async () => {
    await fuzz(bytes(fixtures[name]!.file), (damaged) => decodePicture("x.file", damaged));
  });
}

test.run();
