import type { NDArray } from "../../nn/array.ts";
import type { Check } from "../check.ts";

/** Compares `NAME.act.MODULE.stats` and `.sample` with what a module gave, channels last, a picture as one or several bands of rows. */
export async function compareModules(check: Check, name: string, module: string, parts: readonly NDArray[]): Promise<void> {
  const data = parts.map((p) => p.data);
  await check.compare(name, `act.${module}.stats`, statistics(data), undefined, { optional: true });
  await check.compare(name, `act.${module}.sample`, sample(data, parts.map((p) => p.shape)), undefined, { optional: true });
}

/** Mean, standard deviation, L2 norm, least and greatest of all parts together. */
export function statistics(parts: readonly Float32Array[]): number[] {
  let count = 0;
  let sum = 0;
  let squares = 0;
  let [least, greatest] = [Infinity, -Infinity];
  for (const part of parts) {
    count += part.length;
    for (const x of part) {
      sum += x;
      squares += x * x;
      if (x < least) least = x;
      if (x > greatest) greatest = x;
    }
  }
  const mean = sum / count;
  return [mean, Math.sqrt(Math.max(0, squares - count * mean * mean) / Math.max(1, count - 1)), Math.sqrt(squares), least, greatest];
}

const SAMPLES = 64;

/** The 64 values at flat index i * floor(n / 64) in channels-first order, of a channels-last tensor held as bands of rows. */
function sample(parts: readonly Float32Array[], shapes: readonly (readonly number[])[]): number[] {
  const count = parts.reduce((n, p) => n + p.length, 0);
  const step = Math.floor(count / SAMPLES);
  const [first] = shapes as readonly [readonly number[]];
  const channels = first.at(-1)!;
  if (first.length !== 4) return Array.from({ length: SAMPLES }, (_, i) => parts[0]![i * step]!); // sequences are stored as they are
  const width = first[2]!;
  const height = shapes.reduce((n, s) => n + s[1]!, 0);
  return Array.from({ length: SAMPLES }, (_, i) => {
    const flat = i * step;
    const channel = Math.floor(flat / (height * width)) % channels;
    let row = Math.floor(flat / width) % height;
    let band = 0;
    while (row >= shapes[band]![1]!) row -= shapes[band++]![1]!;
    return parts[band]![(row * width + (flat % width)) * channels + channel]!;
  });
}
