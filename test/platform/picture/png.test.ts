/** PNG in Node: against the pixels that Pillow reads, and what is refused. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { PNG } from "pngjs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RgbImage } from "../../../engine/formats/picture/image.ts";
import { textChunk, writeChunks } from "../../../engine/formats/picture/png-chunks.ts";
import { readChunks } from "../../../engine/formats/picture/read-chunks.ts";
import { crc32 } from "../../../engine/formats/zip/bytes.ts";
import { readPngTexts } from "../../../engine/formats/picture/png.ts";
import { decodePicture } from "../../../engine/platform/picture/decode-picture.ts";
import { decodePng, encodePng } from "../../../engine/platform/picture/png-codec.ts";
import { bytesOf, expected, fixtureBytes, fuzz, FUZZ_ROUNDS, rejects } from "../../formats/support.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

interface Kind {
  readonly file: string;
  readonly size: readonly number[];
  /** Begin of the SHA-256 of the pixels. */
  readonly rgb: string;
  readonly turnedSize?: readonly number[];
  readonly turned?: string;
}

const kinds = JSON.parse(readFileSync("test/fixtures/formats/png-kinds.json", "utf8")) as Record<string, Kind>;

test(`${Object.keys(kinds).length} kinds of PNG are exactly what Pillow reads, as stored and turned`, async () => {
  for (const [name, { file, size, rgb, turnedSize = size, turned = rgb }] of Object.entries(kinds)) {
    const bytes = new Uint8Array(Buffer.from(file, "base64"));
    const said = ({ width, height, data }: RgbImage): unknown => [width, height, sha256(data).slice(0, rgb.length)];
    assert.equal(said(await decodePng(name, bytes)), [...size, rgb], name);
    assert.equal(said(await decodePicture(name, bytes)), [...turnedSize, turned], name);
    assert.equal(said(await decodePicture(name, bytes, { turned: false })), [...size, rgb], name);
  }
});

/** The noise of make.py. */
function noise(width: number, height: number): RgbImage {
  let x = 1;
  const data = Uint8Array.from({ length: width * height * 3 }, () => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) >>> 24);
  return { data, width, height };
}

test("pictures that Pillow wrote", async () => {
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
    [bytesOf(), /is not a PNG image: it is empty/],
    [bytesOf(0xff, 0xd8, 0xff, 0xe0, 0, 16, "JFIF"), /is not a PNG image: it looks like a JPEG image/],
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
  await rejects(() => decodePng("x.file", header(13, 7, 4, 2)), /colour type 2 or bit depth 4/);
  await rejects(() => decodePng("x.file", header(13, 7, 8, 2, 2)), /interlacing \(2\)/);
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

test("a palette that is missing or too short, a filter that there is not", async () => {
  const bytes = new Uint8Array(Buffer.from(kinds["type 3, 8 bits"]!.file, "base64"));
  const chunks = readChunks("x", bytes);
  const other = (type: string, data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> =>
    writeChunks(chunks.map((chunk) => (chunk.type === type ? { type, data } : chunk)));
  await rejects(() => decodePng("x.file", other("PLTE", new Uint8Array(9))), /a pixel has colour \d+, but the palette has 3/);
  await rejects(() => decodePng("x.file", writeChunks(chunks.filter(({ type }) => type !== "PLTE"))), /its palette is missing/);
  const lines = await new Response(
    new Blob([new Uint8Array(30).fill(5)]).stream().pipeThrough(new CompressionStream("deflate")),
  ).arrayBuffer();
  await rejects(() => decodePng("x.file", other("IDAT", new Uint8Array(lines))), /./);
  const whole = writeChunks([chunks[0]!, chunks[1]!, { type: "IDAT", data: new Uint8Array(lines) }, chunks.at(-1)!]);
  await rejects(() => decodePng("x.file", whole), /line 0 has filter 5, there are 0 to 4/);
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

test.run();
