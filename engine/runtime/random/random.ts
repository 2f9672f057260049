/**
 * torch's CPU random generator (torch 1.13: aten/src/ATen/core/MT19937RNGEngine.h, DistributionsHelper.h,
 * native/cpu/DistributionTemplates.h), so that a seed means the same latent as in the field's own tools.
 */
import { boxMuller16 } from "./box-muller.ts";

const N = 624;
const M = 397;

/** Everything that decides the next draws; plain data, may be stored and restored. */
export interface GeneratorState {
  /** The 624 words of the Mersenne twister. */
  readonly words: Uint32Array;
  /** Next word to hand out; 624 means that a new block is due. */
  readonly index: number;
  /** Second value of a scalar Box-Muller pair, waiting for the next small `randn`. */
  readonly cachedNormal: number | undefined;
}

/**
 * A Mersenne twister (MT19937, Matsumoto and Nishimura 1998) with torch's distributions. Draws advance the state, across calls of any kind.
 */
export class Generator {
  #words = new Uint32Array(N);
  #index = N;
  #cachedNormal: number | undefined;

  /** `torch.manual_seed(seed)`. */
  constructor(seed: number | bigint = 0) {
    this.manualSeed(seed);
  }

  /**
   * Restarts the stream. Like torch, only the low 32 bits count (a negative seed in two's complement), and a waiting normal is dropped.
   * @throws RangeError if the seed is not an integer a number can hold exactly (use a bigint beyond 2^53)
   */
  manualSeed(seed: number | bigint): this {
    if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
      throw new RangeError(`seed must be an integer of at most 2^53 - 1, got ${seed}; pass a bigint for a larger one`);
    }
    const w = this.#words;
    w[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < N; i++) {
      const previous = w[i - 1] as number;
      w[i] = Math.imul(1812433253, previous ^ (previous >>> 30)) + i;
    }
    this.#index = N;
    this.#cachedNormal = undefined;
    return this;
  }

  /** The next 32 random bits, as an unsigned integer. */
  random(): number {
    if (this.#index === N) this.#twist();
    let y = this.#words[this.#index++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist(): void {
    const w = this.#words;
    for (let i = 0; i < N; i++) {
      const y = ((w[i] as number) & 0x80000000) | ((w[(i + 1) % N] as number) & 0x7fffffff);
      w[i] = (w[(i + M) % N] as number) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#index = 0;
  }

  /** Uniform in [0, 1) with float32's 24 bits. */
  #uniform32(): number {
    return (this.random() & 0xffffff) / 2 ** 24;
  }

  /** Uniform in [0, 1) with 53 bits: the low 53 of a 64-bit word whose high half is drawn first. */
  #uniform64(): number {
    const high = this.random();
    const low = this.random();
    return ((high & 0x1fffff) * 2 ** 32 + low) / 2 ** 53;
  }

  /** `torch.rand(shape)`: float32, uniform in [0, 1), row-major. */
  rand(shape: readonly number[]): Float32Array {
    const out = new Float32Array(count("rand", shape));
    for (let i = 0; i < out.length; i++) out[i] = this.#uniform32();
    return out;
  }

  /**
   * `torch.randn(shape)`: float32, unit normal, row-major.
   * From 16 elements on, blocks of 16 uniforms are transformed at once, and a size that is not a multiple of 16 draws its last 16 elements
   * anew.
   * Below 16, pairs are made in double precision and the second of a pair waits for the next small call.
   */
  randn(shape: readonly number[]): Float32Array {
    const out = new Float32Array(count("randn", shape));
    const n = out.length;
    if (n < 16) {
      for (let i = 0; i < n; i++) out[i] = this.#normal();
      return out;
    }
    for (let i = 0; i < n; i++) out[i] = this.#uniform32();
    for (let i = 0; i + 16 <= n; i += 16) boxMuller16(out, i);
    if (n % 16 !== 0) {
      for (let i = n - 16; i < n; i++) out[i] = this.#uniform32();
      boxMuller16(out, n - 16);
    }
    return out;
  }

  #normal(): number {
    const waiting = this.#cachedNormal;
    if (waiting !== undefined) {
      this.#cachedNormal = undefined;
      return waiting;
    }
    const theta = 2 * Math.PI * this.#uniform64();
    const radius = Math.sqrt(-2 * Math.log1p(-this.#uniform64()));
    this.#cachedNormal = radius * Math.sin(theta);
    return radius * Math.cos(theta);
  }

  /**
   * `torch.randint(0, high, (n,))`: integers in [0, high).
   * @throws RangeError unless 0 < high < 2^32 (torch draws 64 bits from there on)
   */
  randint(high: number, n: number): Uint32Array {
    if (!Number.isInteger(high) || high < 1 || high >= 2 ** 32) {
      throw new RangeError(`randint: high must be an integer in 1..2^32 - 1, got ${high}`);
    }
    const out = new Uint32Array(count("randint", [n]));
    for (let i = 0; i < n; i++) out[i] = this.random() % high;
    return out;
  }

  /** A copy of the state, as `torch.get_rng_state`. */
  saveState(): GeneratorState {
    return { words: this.#words.slice(), index: this.#index, cachedNormal: this.#cachedNormal };
  }

  /** Continues from a saved state. @throws RangeError if it is not one */
  restoreState(state: GeneratorState): this {
    if (state.words.length !== N || !Number.isInteger(state.index) || state.index < 0 || state.index > N) {
      throw new RangeError(
        `generator state: expected ${N} words and an index of 0..${N}, got ${state.words.length} words and index ${state.index}`,
      );
    }
    this.#words = state.words.slice();
    this.#index = state.index;
    this.#cachedNormal = state.cachedNormal;
    return this;
  }

  /** A generator that goes on from here on its own. */
  clone(): Generator {
    return new Generator().restoreState(this.saveState());
  }
}

/** `torch.manual_seed(seed)`, as a new generator. */
export function manualSeed(seed: number | bigint): Generator {
  return new Generator(seed);
}

function count(what: string, shape: readonly number[]): number {
  let n = 1;
  for (const d of shape) {
    if (!Number.isInteger(d) || d < 0) throw new RangeError(`${what}: shape must be whole numbers, got [${shape.join(", ")}]`);
    n *= d;
  }
  return n;
}
