/** SHA-256 (FIPS 180-4) of a stream: the browser's own digest wants all bytes at once, and a checkpoint may be larger than memory. */

import type { Progress } from "../../protocol.ts";

const K = new Uint32Array(64);
const START = new Uint32Array(8);

// The constants are the fractions of the cube and square roots of the first primes.
for (let n = 2, i = 0; i < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
  if (!prime) continue;
  if (i < 8) START[i] = (Math.sqrt(n) % 1) * 2 ** 32;
  K[i++] = (Math.cbrt(n) % 1) * 2 ** 32;
}

export class Sha256 {
  private readonly state = START.slice();
  private readonly words = new Uint32Array(64);
  private readonly block = new Uint8Array(64);
  private filled = 0;
  private bytes = 0;

  update(data: Uint8Array): this {
    this.bytes += data.length;
    let at = 0;
    if (this.filled > 0) {
      at = Math.min(64 - this.filled, data.length);
      this.block.set(data.subarray(0, at), this.filled);
      this.filled += at;
      if (this.filled < 64) return this;
      this.compress(this.block, 0);
      this.filled = 0;
    }
    for (; at + 64 <= data.length; at += 64) this.compress(data, at);
    this.block.set(data.subarray(at));
    this.filled = data.length - at;
    return this;
  }

  /** 64 hexadecimal digits. Nothing can be added afterwards. */
  digest(): string {
    const bits = this.bytes * 8;
    const padding = new Uint8Array((this.filled < 56 ? 64 : 128) - this.filled);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(padding.length - 4, bits >>> 0);
    this.update(padding);
    return Array.from(this.state, (word) => word.toString(16).padStart(8, "0")).join("");
  }

  private compress(data: Uint8Array, at: number): void {
    const { state, words: w } = this;
    for (let i = 0; i < 16; i++, at += 4) w[i] = (data[at]! << 24) | (data[at + 1]! << 16) | (data[at + 2]! << 8) | data[at + 3]!;
    for (let i = 16; i < 64; i++) {
      const [x, y] = [w[i - 15]!, w[i - 2]!];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[i] = w[i - 16]! + s0 + w[i - 7]! + s1;
    }
    let a = state[0]!, b = state[1]!, c = state[2]!, d = state[3]!, e = state[4]!, f = state[5]!, g = state[6]!, h = state[7]!;
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i]! + w[i]!) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
    }
    state[0]! += a; state[1]! += b; state[2]! += c; state[3]! += d; state[4]! += e; state[5]! += f; state[6]! += g; state[7]! += h;
  }
}

/** SHA-256 of a blob, read in pieces. @param onBytes told how many have been read @throws AbortError */
export async function sha256Blob(blob: Blob, onBytes?: (done: number) => void, signal?: AbortSignal): Promise<string> {
  const hash = new Sha256();
  await hashBlob(hash, blob, onBytes, signal);
  return hash.digest();
}

/** Who follows long work on files, and may end it. */
export interface Work {
  readonly signal: AbortSignal;
  readonly news: (progress: Progress) => void;
}

/** SHA-256 of a blob, telling how far it is read. @throws AbortError */
export function sha256Told(blob: Blob, text: string, { signal, news }: Work): Promise<string> {
  return sha256Blob(blob, (done) => news({ text, done: done / blob.size }), signal);
}

/** Adds a blob to a hash, piece by piece. @throws AbortError */
export async function hashBlob(
  hash: Sha256,
  blob: Blob,
  onBytes: (done: number) => void = () => undefined,
  signal?: AbortSignal,
): Promise<void> {
  const reader = blob.stream().getReader();
  for (let done = 0; ; ) {
    signal?.throwIfAborted();
    const piece = await reader.read();
    if (piece.done) return;
    hash.update(piece.value);
    onBytes((done += piece.value.length));
  }
}
