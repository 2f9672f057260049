import { gunzipSync, gzipSync } from "node:zlib";
import { type BenchResult, parseResult } from "../../bench/results.ts";
import { readBytes, writeFileAtomic } from "../../engine/platform/node-files.ts";
import { InputError, errorMessage } from "../../engine/runtime/errors.ts";

const packed = (file: string): boolean => file.endsWith(".gz");

/**
 * A result of `lethe bench`; a name that ends in `.gz` is of a gzipped one.
 * @throws InputError for a file that cannot be read or holds something else
 */
export async function readResult(file: string): Promise<BenchResult> {
  const bytes = await readBytes(file);
  try {
    return parseResult(file, new TextDecoder().decode(packed(file) ? gunzipSync(bytes) : bytes));
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${file}: no gzipped file: ${errorMessage(cause)}`, { cause });
  }
}

/**
 * Writes a result, gzipped if the name ends in `.gz`: a tenth of the size, for results that are kept.
 * @throws InputError for a place that cannot be written
 */
export async function writeResult(file: string, result: BenchResult): Promise<void> {
  const text = `${JSON.stringify(result, null, 1)}\n`;
  await writeFileAtomic(file, packed(file) ? new Uint8Array(gzipSync(text)) : text);
}
