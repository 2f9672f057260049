/** What the tests of file formats share: fixtures, seeded mutation, and hand-made pickles and zip archives. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { bytesSource } from "../../engine/formats/byte-source.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { crc32 } from "../../engine/formats/zip/bytes.ts";

const folder = "test/fixtures/formats";

export function fixtureBytes(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(`${folder}/${name}`));
}

export interface ExpectedTensor {
  dtype: string;
  shape: number[];
  hex: string;
}

export interface Expected {
  state_dict: Record<string, ExpectedTensor>;
  small: Record<string, ExpectedTensor>;
  lightning: Record<string, ExpectedTensor>;
  lightning_exp_avg: ExpectedTensor;
  half_to_float: string;
  float_to_half: string;
  small_float_to_half: string;
  resize: { from: [number, number]; to: [number, number]; filter: string; sha256: string }[];
  png: Record<string, { width: number; height: number; sha256: string }>;
  texts: Record<string, string>;
  huge_bytes: number;
}

export const expected = JSON.parse(readFileSync(`${folder}/expected.json`, "utf8")) as Expected;

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

export function source(bytes: Uint8Array, name = "x.file"): ReturnType<typeof bytesSource> {
  return bytesSource(name, bytes);
}

/** The work fails with a one-line FormatError whose message names the file and matches. */
export async function rejects(work: () => unknown, pattern: RegExp, file = "x.file"): Promise<void> {
  let thrown: unknown;
  try {
    await work();
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown instanceof FormatError, `expected a FormatError matching ${pattern}, got ${String(thrown)}`);
  assert.match(thrown.message, pattern);
  assert.is(thrown.file, file);
  assert.ok(thrown.message.startsWith(`${file}: `) && !thrown.message.includes("\n"), thrown.message);
}

/** mulberry32: numbers in [0, 1), the same on every machine. */
export function randomNumbers(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Mutations for each reader; FORMAT_FUZZ=10000 for a long run. */
export const FUZZ_ROUNDS = Number(process.env["FORMAT_FUZZ"] ?? 300);
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x28, 0x2e, 0x52, 0x63, 0x71, 0x7b, 0x7d, 0x81, 0x93];

/** A damaged copy: bytes changed, cut, doubled, swapped or inserted, one to four times. */
export function mutate(bytes: Uint8Array, random: () => number): Uint8Array<ArrayBuffer> {
  const pick = (limit: number): number => Math.floor(random() * limit);
  let out = [...bytes];
  for (let times = 1 + pick(4); times > 0 && out.length > 0; times--) {
    const at = pick(out.length);
    const length = 1 + pick(Math.min(64, out.length - at));
    switch (pick(7)) {
      case 0: out[at] = pick(256); break;
      case 1: out[at] = INTERESTING[pick(INTERESTING.length)]!; break;
      case 2: out[at]! ^= 1 << pick(8); break;
      case 3: out = out.slice(0, at); break;
      case 4: out.splice(at, length); break;
      case 5: out.splice(at, 0, ...out.slice(at, at + length)); break;
      default: for (let i = 0; i < Math.min(8, out.length - at); i++) out[at + i] = random() < 0.5 ? 0xff : pick(256);
    }
  }
  return Uint8Array.from(out);
}

/**
 * Feeds `rounds` damaged copies to a reader: it may succeed or throw FormatError (or another of `refusals`), each within two seconds of
 * the processor and all within a GiB of memory more; nothing else. Returns the refused.
 */
export async function fuzz(
  bytes: Uint8Array,
  read: (damaged: Uint8Array<ArrayBuffer>) => Promise<unknown>,
  rounds = FUZZ_ROUNDS,
  seed = 1,
  refusals: readonly (abstract new (...args: never[]) => Error)[] = [FormatError],
): Promise<number> {
  const random = randomNumbers(seed);
  const before = process.memoryUsage.rss();
  let refused = 0;
  for (let round = 0; round < rounds; round++) {
    const damaged = mutate(bytes, random);
    const started = process.cpuUsage(); // and not the clock: the machine may be busy with other work
    try {
      await read(damaged);
    } catch (error) {
      if (!(error instanceof Error && refusals.some((kind) => error instanceof kind))) {
        throw new Error(`round ${round} of seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
      }
      assert.not.match(error.message, /\n/);
      refused++;
    }
    const { user, system } = process.cpuUsage(started);
    const took = (user + system) / 1000;
    assert.ok(took < 2000, `round ${round} of seed ${seed} took ${took} ms`);
    const grown = process.memoryUsage.rss() - before;
    assert.ok(grown < 2 ** 30, `round ${round} of seed ${seed}: ${grown} bytes more memory are in use`);
  }
  return refused;
}

/** Bytes from numbers, texts (Latin-1) and other bytes. */
export function bytesOf(...parts: (number | string | Uint8Array | readonly number[])[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(
    parts.flatMap((part) =>
      typeof part === "number" ? [part] : typeof part === "string" ? [...part].map((c) => c.charCodeAt(0)) : [...part],
    ),
  );
}

export function uint32(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

/** A short string, a global, and a call, in pickle's bytes. */
export function text(value: string): Uint8Array {
  return bytesOf("X", uint32(value.length), value);
}
export function globalName(module: string, name: string): Uint8Array {
  return bytesOf("c", module, "\n", name, "\n");
}

/** A zip archive of stored entries, with overrides for making it wrong. */
export function zipOf(
  files: Readonly<Record<string, Uint8Array>>,
  wrong: { method?: number; flags?: number; size?: number; offset?: (i: number, offset: number) => number } = {},
): Uint8Array<ArrayBuffer> {
  const local: number[] = [];
  const central: number[] = [];
  Object.entries(files).forEach(([name, data], i) => {
    const offset = local.length;
    const size = wrong.size ?? data.length;
    const fields = [
      ...uint32((wrong.flags ?? 0) | ((wrong.method ?? 0) << 16)),
      ...uint32(0),
      ...uint32(crc32(data)),
      ...uint32(size),
      ...uint32(size),
      name.length,
      0,
      0,
      0,
    ];
    local.push(...bytesOf("PK\x03\x04", 20, 0, fields, name));
    for (const byte of data) local.push(byte);
    central.push(
      ...bytesOf("PK\x01\x02", 20, 0, 20, 0, fields, 0, 0, 0, 0, 0, 0, uint32(0), uint32(wrong.offset?.(i, offset) ?? offset), name),
    );
  });
  const count = Object.keys(files).length;
  return Uint8Array.from([
    ...local,
    ...central,
    ...bytesOf("PK\x05\x06", 0, 0, 0, 0, count, 0, count, 0, uint32(central.length), uint32(local.length), 0, 0),
  ]);
}

/** A PyTorch archive around a pickle. */
export function torchZip(pickle: Uint8Array, storages: Readonly<Record<string, Uint8Array>> = {}): Uint8Array<ArrayBuffer> {
  return zipOf({
    "archive/data.pkl": pickle,
    ...Object.fromEntries(Object.entries(storages).map(([key, data]) => [`archive/data/${key}`, data])),
    "archive/version": bytesOf("3\n"),
  });
}
