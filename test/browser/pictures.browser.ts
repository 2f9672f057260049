/** Pictures by the browser's own decoders: the same pixels as in Node, which are Pillow's, and the same refusals. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeChunks } from "../../engine/formats/picture/png-chunks.ts";
import { readChunks } from "../../engine/formats/picture/read-chunks.ts";
import { decodePng, encodePng } from "../../engine/platform/picture/png-codec.ts";
import { TestBrowser, type Visit } from "./support.ts";

/** Not imported: bundled into a test, esbuild does not find its own program. */
const { buildSync } = createRequire(`${process.cwd()}/package.json`)("esbuild") as typeof import("esbuild");

const ENTRY = `
  import { decodePicture } from "./engine/platform/picture/decode-picture.ts";
  import { encodePng } from "./engine/platform/picture/png-codec.ts";
  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const text = (data) => btoa(Array.from(data, (v) => String.fromCharCode(v)).join(""));
  globalThis.decode = async (file, turned) => {
    try {
      const { width, height, data } = await decodePicture("x.file", bytes(file), { turned });
      return { size: [width, height], data: text(data) };
    } catch (error) {
      return { problem: String(error.message) };
    }
  };
  globalThis.encode = (data, width, height) => text(encodePng({ data: bytes(data), width, height }, { note: "a picture" }));`;

interface Decoded {
  readonly size: number[];
  readonly data: string;
  readonly problem?: string;
}

const folder = mkdtempSync(join(tmpdir(), "lethe-pictures-"));
let browser: TestBrowser;
let visit: Visit;

const decode = (file: string, turned = true): Promise<Decoded> =>
  visit.page.evaluate(`decode(${JSON.stringify(file)}, ${turned})`);
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const read = <T>(name: string): Record<string, T> => JSON.parse(readFileSync(`test/fixtures/formats/${name}`, "utf8")) as Record<string, T>;

test.before(async () => {
  const options = { bundle: true, format: "esm", platform: "browser", target: "es2022", outfile: join(folder, "pictures.js") } as const;
  buildSync({ ...options, stdin: { contents: ENTRY, resolveDir: process.cwd(), loader: "ts" } });
  writeFileSync(join(folder, "index.html"), `<!doctype html><script type="module" src="pictures.js"></script>`);
  browser = await TestBrowser.start({ "": folder });
  visit = await browser.visit("/");
  await visit.page.waitForFunction("globalThis.decode");
});

test.after(async () => {
  await browser?.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Kind {
  readonly file: string;
  readonly size: number[];
  readonly rgb: string;
  readonly turnedSize?: number[];
  readonly turned?: string;
}

test("PNG of every kind is exactly what Pillow reads", async () => {
  const sha = (data: string): string => createHash("sha256").update(Buffer.from(data, "base64")).digest("hex");
  for (const [name, { file, size, rgb, turnedSize = size, turned = rgb }] of Object.entries(read<Kind>("png-kinds.json"))) {
    const [stored, upright] = [await decode(file, false), await decode(file)];
    assert.equal([stored.problem, stored.size, sha(stored.data).slice(0, rgb.length)], [undefined, size, rgb], name);
    assert.equal([upright.size, sha(upright.data).slice(0, rgb.length)], [turnedSize, turned], `${name}, turned`);
  }
});

test("JPEG and WebP are within 1 level of Pillow, turned as EXIF says", async () => {
  for (const [name, { file, width, height, rgb }] of Object.entries(
    read<{ readonly file: string; readonly width: number; readonly height: number; readonly rgb: string }>("pictures.json"),
  )) {
    const { problem, size, data } = await decode(file);
    assert.equal([problem, size], [undefined, [width, height]], name);
    const [got, wanted] = [Buffer.from(data, "base64"), Buffer.from(rgb, "base64")];
    const difference = Math.max(...wanted.map((value, i) => Math.abs(value - got[i]!)));
    assert.ok(got.length === wanted.length && difference <= 1, `${name}: ${difference} levels`);
  }
});

test("what is written in the page is read the same in Node", async () => {
  const data = Uint8Array.from({ length: 31 * 17 * 3 }, (_, i) => (i * i * 7) >> 3);
  const png = await visit.page.evaluate<string>(`encode("${base64(data)}", 31, 17)`);
  assert.equal(await decodePng("x", new Uint8Array(Buffer.from(png, "base64"))), { data, width: 31, height: 17 });
});

test("damaged files and other kinds are refused as in Node", async () => {
  const good = encodePng({ data: new Uint8Array(27), width: 3, height: 3 });
  const chunks = readChunks("x", good);
  const palette = new Uint8Array(Buffer.from(read<Kind>("png-kinds.json")["type 3, 8 bits"]!.file, "base64"));
  const short = writeChunks(
    readChunks("x", palette).map((chunk) => (chunk.type === "PLTE" ? { type: "PLTE", data: new Uint8Array(3) } : chunk)),
  );
  for (const [bytes, pattern] of [
    [good.subarray(0, 50), /truncated/],
    [good.with(30, 1), /fails its checksum/],
    [writeChunks(chunks.filter(({ type }) => type !== "IDAT")), /unpack/],
    [short, /but the palette has 1/],
    [Buffer.from("GIF89a0000000000"), /a GIF image/],
    [Buffer.from("BM0000000000000000"), /a BMP image/],
    [Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"></svg>'), /an SVG image/],
  ] as const) {
    assert.match((await decode(base64(bytes))).problem ?? "nothing", pattern);
  }
});

test.run();
