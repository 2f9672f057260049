import { BufferUsage } from "./buffer-usage.ts";

/** What a pool has of one buffer. */
interface Pooled {
  readonly bytes: number;
  readonly buffer: GPUBuffer;
  /** Programs that hold it. */
  users: number;
}

/**
 * Buffers for intermediate tensors, shared by all programs of a device: their runs follow one another on one queue, and nothing
 * intermediate is read after its own run. So the memory of several programs is that of the largest, not their sum.
 */
export class BufferPool {
  private readonly buffers: Pooled[] = [];

  constructor(
    private readonly create: (bytes: number, usage: number, label: string) => GPUBuffer,
    private readonly destroy: (buffer: GPUBuffer) => void,
  ) {}

  /** A buffer of at least that many bytes for each size, all different. */
  acquire(sizes: readonly number[]): GPUBuffer[] {
    const chosen = choose(sizes, this.buffers.map((b) => b.bytes));
    return sizes.map((bytes, i) => {
      let at = chosen[i]!;
      if (at < 0) {
        at = this.buffers.push({ bytes, buffer: this.create(bytes, BufferUsage.storage, `slot ${this.buffers.length}`), users: 0 }) - 1;
      }
      const pooled = this.buffers[at]!;
      pooled.users++;
      return pooled.buffer;
    });
  }

  /** Bytes that `acquire` would have to allocate. */
  missingBytes(sizes: readonly number[]): number {
    const chosen = choose(sizes, this.buffers.map((b) => b.bytes));
    return sizes.reduce((n, bytes, i) => n + (chosen[i]! < 0 ? bytes : 0), 0);
  }

  /** Gives buffers of `acquire` back; those that no program holds any more are freed. */
  release(buffers: readonly GPUBuffer[]): void {
    for (const buffer of buffers) {
      const at = this.buffers.findIndex((b) => b.buffer === buffer);
      const pooled = this.buffers[at];
      if (!pooled || --pooled.users > 0) continue;
      this.buffers.splice(at, 1);
      this.destroy(buffer);
    }
  }
}

/** For each size the index of the smallest free buffer that holds it, largest sizes first; -1 where there is none. */
function choose(sizes: readonly number[], available: readonly number[]): number[] {
  const taken = new Set<number>();
  const chosen = new Array<number>(sizes.length).fill(-1);
  const order = sizes.map((_, i) => i).toSorted((a, b) => sizes[b]! - sizes[a]!);
  for (const i of order) {
    let best = -1;
    available.forEach((bytes, at) => {
      if (bytes >= sizes[i]! && !taken.has(at) && (best < 0 || bytes < available[best]!)) best = at;
    });
    chosen[i] = best;
    taken.add(best);
  }
  return chosen;
}

/** Bytes of a pool that programs with buffers of these sizes would share, made in this order. */
export function pooledBytes(programs: readonly (readonly number[])[]): number {
  const pool: number[] = [];
  for (const sizes of programs) {
    const chosen = choose(sizes, pool);
    pool.push(...sizes.filter((_, i) => chosen[i]! < 0));
  }
  return pool.reduce((a, b) => a + b, 0);
}
