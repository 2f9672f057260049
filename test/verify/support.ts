// Verification as the command runs it, on fixtures, on references put together in memory, and on broken ones.
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { type FileSystem, memoryFiles } from "../../engine/formats/file-system.ts";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { type Row, type VerifyOptions, type VerifyResult, verify } from "../../engine/verify/index.ts";
import { createClipTokenizer } from "../../tokenizer/index.ts";
import { testDevice } from "../support/device.ts";
import type { Tensor } from "../support/fixtures.ts";

export const EMOJI = "assets/emoji";

/** Verifies what is at a path on the test device, with the bundled model if asked for. */
export function run(path: string, options: Partial<VerifyOptions> = {}): Promise<VerifyResult> {
  return verify({
    files: nodeFiles,
    golden: path,
    device: testDevice,
    clipTokenizer: async () => createClipTokenizer(new Uint8Array(readFileSync("assets/clip/bpe_simple_vocab_16e6.txt.gz"))),
    ...options,
  });
}

/** The disk, with files in memory laid over it below the folder `memory`. */
export function withMemory(contents: Readonly<Record<string, Uint8Array | string>>): FileSystem {
  const memory = memoryFiles(contents);
  const of = (path: string): FileSystem => (path.startsWith("memory") ? memory : nodeFiles);
  return { open: (p) => of(p).open(p), kind: (p) => of(p).kind(p), list: (p) => of(p).list(p) };
}

/** A reference of the given JSON and tensors as the two files it is kept in. */
export function golden(name: string, json: object, tensors: Readonly<Record<string, Tensor>>): Record<string, Uint8Array | string> {
  const dtype = (data: Tensor["data"]): "F32" | "I32" | "U8" =>
    data instanceof Float32Array ? "F32" : data instanceof Int32Array ? "I32" : "U8";
  const written = Object.fromEntries(Object.entries(tensors).map(([k, { shape, data }]) => [k, { dtype: dtype(data), shape, data }]));
  return { [`memory/${name}.json`]: JSON.stringify(json), [`memory/${name}.safetensors`]: encodeSafetensors(name, written) };
}

/** Fails naming every row that is over its tolerance. */
export function allWithin({ ok, rows }: VerifyResult, atLeast: number): void {
  const failed = rows.filter((r) => !r.ok).map(describe);
  assert.equal(failed, []);
  assert.ok(ok);
  assert.ok(rows.length >= atLeast, `only ${rows.length} rows`);
}

export function describe(row: Row): string {
  return `${row.file} ${row.case} ${row.tensor}: ${row.error} of ${row.tolerance} (${row.measure}) ${row.note ?? ""}`;
}
