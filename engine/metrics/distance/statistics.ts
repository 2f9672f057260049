import { type Matrix, matrix, rowProducts, transposed } from "../linear-algebra/matrix.ts";

/** Mean and covariance of feature rows, as the field's statistics files hold them. */
export interface Statistics {
  /** [d] */
  readonly mean: Float64Array<ArrayBuffer>;
  /** [d, d], of n - 1. */
  readonly covariance: Matrix;
  /** Rows it was made of; undefined where a file does not say. */
  readonly count?: number | undefined;
}

/** Feature rows [n, d]. */
export interface Features {
  readonly data: Float32Array<ArrayBuffer>;
  readonly count: number;
  readonly dims: number;
}

/** Rows that are taken up at once: their products then read a block of numbers many times. */
const CHUNK = 256;

/**
 * Mean and covariance of rows that come by and by, in float64, without keeping them: each chunk is centred about its own mean and joined to
 * what was before it. Source: Chan, Golub and LeVeque, Updating Formulae (1979), eq. 2.1
 */
export class RunningStatistics {
  private count = 0;
  private readonly mean: Float64Array<ArrayBuffer>;
  /** Products of the centred rows, summed. */
  private readonly products: Matrix;

  constructor(readonly dims: number) {
    this.mean = new Float64Array(dims);
    this.products = matrix(dims, dims);
  }

  /** Takes up rows [n, d]. @throws RangeError for rows of another width */
  add({ data, count, dims }: Features): this {
    if (dims !== this.dims) throw new RangeError(`statistics of ${this.dims} numbers a row cannot take rows of ${dims}`);
    for (let from = 0; from < count; from += CHUNK) {
      this.addChunk(data.subarray(from * dims, Math.min(count, from + CHUNK) * dims));
    }
    return this;
  }

  private addChunk(data: Float32Array<ArrayBuffer>): void {
    const { dims } = this;
    const count = data.length / dims;
    const mean = meanOf({ data, count, dims });
    const centred = matrix(count, dims, Float64Array.from(data, (x, i) => x - mean[i % dims]!));
    const columns = transposed(centred);
    this.join(count, mean, rowProducts(columns, columns));
  }

  private join(count: number, mean: Float64Array, products: Matrix): void {
    const { dims } = this;
    const total = this.count + count;
    const apart = mean.map((m, i) => m - this.mean[i]!);
    const weight = (this.count * count) / total;
    for (let i = 0; i < dims; i++) {
      const x = weight * apart[i]!;
      for (let j = 0, at = i * dims; j < dims; j++, at++) this.products.data[at]! += products.data[at]! + x * apart[j]!;
      this.mean[i]! += (apart[i]! * count) / total;
    }
    this.count = total;
  }

  /** @throws RangeError for fewer than two rows */
  statistics(): Statistics {
    const { count, dims, mean, products } = this;
    if (count < 2) throw new RangeError(`a covariance needs at least two pictures, got ${count}`);
    return { count, mean: mean.slice(), covariance: matrix(dims, dims, products.data.map((x) => x / (count - 1))) };
  }
}

/** Mean [d] and covariance [d, d] of feature rows, in float64. @throws RangeError for fewer than two rows */
export function statisticsOf(features: Features): Statistics {
  return new RunningStatistics(features.dims).add(features).statistics();
}

/** Statistics of two sets of rows together. @throws RangeError where one does not say of how many rows it is, or of different widths */
export function mergeStatistics(a: Statistics, b: Statistics): Statistics {
  const dims = a.mean.length;
  if (b.mean.length !== dims) throw new RangeError(`statistics of ${dims} and of ${b.mean.length} numbers cannot be merged`);
  if (a.count === undefined || b.count === undefined) {
    throw new RangeError("statistics can be merged only where both say of how many pictures");
  }
  const total = a.count + b.count;
  const weight = (a.count * b.count) / total;
  const apart = b.mean.map((m, i) => m - a.mean[i]!);
  const [first, second] = [a.count - 1, b.count - 1];
  const data = a.covariance.data.map((x, at) => {
    const product = weight * apart[Math.floor(at / dims)]! * apart[at % dims]!;
    return (first * x + second * b.covariance.data[at]! + product) / (total - 1);
  });
  return { count: total, mean: a.mean.map((m, i) => m + (apart[i]! * b.count!) / total), covariance: matrix(dims, dims, data) };
}

/** Mean [d] of rows in float64. */
export function meanOf({ data, count, dims }: Features): Float64Array<ArrayBuffer> {
  const sums = new Float64Array(dims);
  for (let at = 0; at < data.length; at += dims) for (let j = 0; j < dims; j++) sums[j]! += data[at + j]!;
  return sums.map((s) => s / count);
}

/**
 * Mean [d] of rows as numpy gives it for float32 rows: every sum rounded to float32, one row after the other.
 * Source: T2IBenchmark metrics/fid.py:47, numpy's `mean(axis=0)`
 */
export function float32Mean({ data, count, dims }: Features): Float64Array<ArrayBuffer> {
  const sums = new Float32Array(dims);
  for (let at = 0; at < data.length; at += dims) for (let j = 0; j < dims; j++) sums[j]! += data[at + j]!;
  return Float64Array.from(sums, (s) => Math.fround(s / count));
}
