import { pooledBytes } from "../buffer-pool.ts";

/** Weights of a run by leaf: bytes, and how many ops of what it repeats read it. */
export type WeightUses = Map<string, { readonly bytes: number; uses: number }>;

/** Of the memory limit, left for what is not foreseen: a judge's network, an attacker's own programs. */
const SPARE = 0.05;
/** Of a small one, where an attack's tokens over the whole vocabulary weigh more than the model's layers: so many bytes, or this share. */
const SMALL_SPARE = { bytes: 8 * 2 ** 20, share: 0.2 };

/** Bytes of a limit that a plan may take, where weights may stay in host memory for the sake of what is not foreseen. */
export function plannable(limit: number): number {
  return limit - Math.max(SPARE * limit, Math.min(SMALL_SPARE.bytes, SMALL_SPARE.share * limit));
}

/** Weights below this stay on the device, foreseen or not. */
const SMALL = 2 ** 16;

/**
 * Leaves that stay on the device while the others stay in host memory: what is read most, of that the small ones first, as long as there
 * is room.
 * @param limit bytes of device memory; Infinity where it is not known: then none stays
 * @param needed bytes of it that are needed besides
 */
export function residents(weights: WeightUses, limit: number, needed: number): Set<string> {
  const chosen = new Set<string>();
  let left = limit < Infinity ? plannable(limit) - needed : 0;
  for (const [leaf, { bytes }] of [...weights].toSorted(([, a], [, b]) => b.uses - a.uses || a.bytes - b.bytes)) {
    if (bytes > left) continue;
    left -= bytes;
    chosen.add(leaf);
  }
  return chosen;
}

/** Whether a leaf of so many bytes is kept on the device; of leaves that are not among `weights`, those that take little are. */
export function keepsResidents(weights: WeightUses, chosen: ReadonlySet<string>): (leaf: string, bytes: number) => boolean {
  return (leaf, bytes) => (weights.has(leaf) ? chosen.has(leaf) : bytes < SMALL);
}

/** Of all weights. */
export function totalBytes(weights: WeightUses): number {
  return [...weights.values()].reduce((n, { bytes }) => n + bytes, 0);
}

/**
 * Bytes of buffers that programs share, made in a less fortunate order than this one: a program can use the buffers of those before it
 * only if they are large enough.
 */
export function pooledAtWorst(programs: readonly (readonly number[])[]): number {
  const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
  const bySize = programs.toSorted((a, b) => sum(a) - sum(b));
  return Math.max(...[programs, programs.toReversed(), bySize, ...programs.map((one) => [one, ...programs])].map(pooledBytes));
}
