/** The readers as a browser gets them: bundled without Node's modules and run where none of Node's globals exist. */
import { createRequire } from "node:module";
import { runInNewContext } from "node:vm";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodePng } from "../../engine/platform/picture/png-codec.ts";
import { fixtureBytes } from "./support.ts";

/** Not imported: bundled into a test, esbuild does not find its own program. */
const { build } = createRequire(`${process.cwd()}/package.json`)("esbuild") as typeof import("esbuild");

const entry = `
  import { blobSource } from "./engine/formats/byte-source.ts";
  import { memoryFiles } from "./engine/formats/file-system.ts";
  import { openTensorFile } from "./engine/formats/open.ts";
  import { readDiffusersFolder } from "./engine/formats/diffusers.ts";
  import { parseCsv } from "./engine/formats/text/csv.ts";
  import { readPngTexts } from "./engine/formats/picture/png.ts";
  import { encodePng } from "./engine/platform/picture/png-codec.ts";
  globalThis.work = async (checkpoint) => {
    const file = await openTensorFile(blobSource("dropped.pt", new Blob([checkpoint])));
    const png = encodePng({ data: Uint8Array.from({ length: 18 }, (_, i) => 14 * i), width: 3, height: 2 }, { note: "a picture" });
    await readDiffusersFolder(memoryFiles({ "m/model_index.json": "{}" }), "m");
    const note = (await readPngTexts("x", png)).get("note");
    return { names: [...file.entries.keys()], weight: await file.readFloat32("weight"), png, note,
      rows: parseCsv("x", "a,b\\n1,2\\n").rows.length, node: [typeof process, typeof Buffer] };
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
  };
  context["self"] = context["globalThis"] = context;
  runInNewContext(bundle.outputFiles[0]!.text, context);
  const work = context["work"] as (checkpoint: Uint8Array) => Promise<{
    names: string[];
    weight: Float32Array;
    png: Uint8Array;
    note: string;
    rows: number;
    node: string[];
  }>;
  const result = await work(fixtureBytes("torch/protocol4.pt"));
  assert.equal([result.names.join(), result.weight.length, result.rows, result.note], ["weight,bias", 24, 1, "a picture"]);
  assert.equal([...result.node], ["undefined", "undefined"]);
  const { data, width, height } = await decodePng("x", new Uint8Array(result.png)); // as Node reads it
  assert.equal([width, height, ...data], [3, 2, ...Array.from({ length: 18 }, (_, i) => 14 * i)]);
});

test.run();
