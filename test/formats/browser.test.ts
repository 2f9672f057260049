/** The readers as a browser gets them: bundled without Node's modules and run where none of Node's globals exist. */
import { createRequire } from "node:module";
import { runInNewContext } from "node:vm";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fixtureBytes, toHex } from "./support.ts";

/** Not imported: bundled into a test, esbuild does not find its own program. */
const { build } = createRequire(`${process.cwd()}/package.json`)("esbuild") as typeof import("esbuild");

const entry = `
  import { blobSource } from "./engine/formats/byte-source.ts";
  import { memoryFiles } from "./engine/formats/file-system.ts";
  import { openTensorFile } from "./engine/formats/open.ts";
  import { readDiffusersFolder } from "./engine/formats/diffusers.ts";
  import { parseCsv } from "./engine/formats/text/csv.ts";
  import { decodePng, encodePng } from "./engine/formats/picture/png.ts";
  globalThis.work = async (checkpoint, png) => {
    const file = await openTensorFile(blobSource("dropped.pt", new Blob([checkpoint])));
    const image = await decodePng("dropped.png", png);
    const interlaced = await decodePng("i.png", globalThis.interlaced);
    await readDiffusersFolder(memoryFiles({ "m/model_index.json": "{}" }), "m");
    return { names: [...file.entries.keys()], weight: await file.readFloat32("weight"), image, again: encodePng(image),
      interlaced, rows: parseCsv("x", "a,b\\n1,2\\n").rows.length, node: [typeof process, typeof Buffer] };
  };`;

test("bundle and run without Node", async () => {
  const bundle = await build({
    stdin: { contents: entry, resolveDir: process.cwd(), loader: "ts" },
    bundle: true,
    write: false,
    format: "iife",
    platform: "browser",
    target: "es2022",
    logLevel: "silent",
  });
  const context: Record<string, unknown> = {
    Blob,
    TextDecoder,
    TextEncoder,
    DecompressionStream,
    Uint8Array,
    ArrayBuffer,
    setTimeout,
    clearTimeout,
    interlaced: fixtureBytes("png/interlaced.png"),
  };
  context["self"] = context["globalThis"] = context;
  runInNewContext(bundle.outputFiles[0]!.text, context);
  const work = context["work"] as (
    checkpoint: Uint8Array,
    png: Uint8Array,
  ) => Promise<{
    names: string[];
    weight: Float32Array;
    image: { data: Uint8Array<ArrayBuffer>; width: number; height: number };
    again: Uint8Array;
    interlaced: { width: number };
    rows: number;
    node: string[];
  }>;
  const result = await work(fixtureBytes("torch/protocol4.pt"), fixtureBytes("png/rgb.png"));
  assert.equal([result.names.join(), result.weight.length, result.rows, result.interlaced.width], ["weight,bias", 24, 1, 13]);
  assert.equal([...result.node], ["undefined", "undefined"]);
  assert.equal([result.image.width, result.image.height], [13, 7]);
  assert.is(toHex(result.image.data), toHex(fixturePixels()));
  assert.ok(result.again.length > 100);
});

/** The noise that png/rgb.png holds. */
function fixturePixels(): Uint8Array {
  let x = 1;
  return Uint8Array.from({ length: 13 * 7 * 3 }, () => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) >>> 24);
}

test.run();
