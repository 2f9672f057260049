/** NumPy's archives of named arrays (`numpy.savez`, `numpy.savez_compressed`). */
import type { ByteSource } from "../byte-source.ts";
import { FormatError, quote } from "../errors.ts";
import { zipPieces } from "../zip/writer.ts";
import { joinPieces } from "../store.ts";
import { readZipDirectory, readZipEntry } from "../zip/reader.ts";
import { type NpyArray, readNpy, writeNpy } from "./npy.ts";

/** Larger than any statistics: 4096 x 4096 numbers. */
const MAX_BYTES = 2 ** 27 + 1024;

/** The named arrays of an archive. @throws FormatError naming the file and the array that is missing or cannot be read */
export async function readNpz<Name extends string>(source: ByteSource, names: readonly Name[]): Promise<Record<Name, NpyArray>> {
  const entries = await readZipDirectory(source);
  const arrays: [Name, NpyArray][] = [];
  for (const name of names) {
    const entry = entries.get(`${name}.npy`);
    if (!entry) {
      const there = [...entries.keys()].slice(0, 5).map((n) => quote(n.replace(/\.npy$/, ""))).join(", ");
      throw new FormatError(source.name, `has no array ${quote(name)}; it has ${there || "none"}`);
    }
    if (entry.size > MAX_BYTES) {
      throw new FormatError(source.name, `array ${quote(name)} claims ${entry.size} bytes, at most ${MAX_BYTES} are read`);
    }
    arrays.push([name, readNpy(`${source.name}: ${name}.npy`, await readZipEntry(source, entry))]);
  }
  return Object.fromEntries(arrays) as Record<Name, NpyArray>;
}

/** An archive of float64 arrays, stored plainly. The same arrays give the same bytes. */
export function writeNpz(
  arrays: Readonly<Record<string, { readonly data: Float64Array<ArrayBuffer>; readonly shape: readonly number[] }>>,
): Promise<Uint8Array<ArrayBuffer>> {
  const files = Object.entries(arrays).map(([name, { data, shape }]) => ({ name: `${name}.npy`, read: () => writeNpy(data, shape) }));
  return joinPieces(zipPieces(files));
}
