/** Reading test/fixtures: safetensors and JSON files by their path below that folder. Tests run in the checkout's root. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Tensor {
  readonly shape: readonly number[];
  /** Whatever the stored dtype (F32, F64, I32, I64, U8), so that one table type serves every test. */
  readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
}

const ARRAYS = { F32: Float32Array, F64: Float64Array, I32: Int32Array, I64: BigInt64Array, U8: Uint8Array } as const;

interface Entry {
  readonly dtype: keyof typeof ARRAYS;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

const folder = "test/fixtures";

/** Every tensor of a .safetensors file, by name. */
export function readFixture(path: string): Map<string, Tensor> {
  const bytes = readFileSync(join(folder, path));
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength)) as Record<string, Entry>;
  const base = bytes.byteOffset + 8 + headerLength;
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [start, end] = entry.data_offsets;
    tensors.set(name, { shape: entry.shape, data: new ARRAYS[entry.dtype](bytes.buffer.slice(base + start, base + end)) });
  }
  return tensors;
}

/** A float32 tensor's values. @throws Error if it is absent or of another dtype */
export function floats(tensors: ReadonlyMap<string, Tensor>, name: string): Float32Array {
  const data = tensors.get(name)?.data;
  if (!(data instanceof Float32Array)) throw new Error(`fixture: no F32 tensor "${name}"`);
  return data;
}

/** A JSON fixture; the caller states the form it expects. */
export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(join(folder, path), "utf8")) as T;
}

/** ||a - b|| / ||b||, the measure of every tolerance; b is the reference. Infinity for different lengths or values that are not finite. */
export function relativeL2(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += ((a[i] as number) - (b[i] as number)) ** 2;
    norm += (b[i] as number) ** 2;
  }
  if (!Number.isFinite(difference)) return Infinity;
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm);
}
