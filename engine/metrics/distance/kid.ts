import { InputError } from "../../runtime/errors.ts";
import type { Generator } from "../../runtime/random/random.ts";
import { type Matrix, matrix, rowProducts } from "../linear-algebra/matrix.ts";
import type { Features } from "./statistics.ts";

/** The rows of one subset: of the first set and of the second. */
export interface Subset {
  readonly first: Int32Array;
  readonly second: Int32Array;
}

export interface Kid {
  readonly mean: number;
  /** Over the subsets, of n. */
  readonly std: number;
  readonly perSubset: readonly number[];
}

/** torch-fidelity's defaults. Source: torch-fidelity metric_kid.py, defaults.py */
export const KID_DEFAULTS = { subsets: 100, size: 1000, seed: 2020 } as const;

/**
 * `m` of `n` rows without repetition, as `numpy.random.RandomState.choice(n, m, replace=False)`: the first of a permutation.
 * @param random seeded as numpy is: `manualSeed(seed)`
 */
export function chooseRows(random: Generator, n: number, m: number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const mask = 2 ** (32 - Math.clz32(i)) - 1;
    let j: number;
    do j = (random.random() & mask) >>> 0;
    while (j > i);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order.slice(0, m);
}

/**
 * The subsets that torch-fidelity draws: rows of the first set, then of the second, for one subset after the other.
 * @throws InputError where a set has fewer rows than a subset, as torch-fidelity refuses too
 */
export function fidelitySubsets(random: Generator, counts: readonly [number, number], subsets: number, size: number): Subset[] {
  const least = Math.min(...counts);
  if (least < size) throw new InputError(`KID: a subset of ${size} pictures cannot be drawn from ${least}; take smaller subsets`);
  return Array.from({ length: subsets }, () => ({
    first: chooseRows(random, counts[0], size),
    second: chooseRows(random, counts[1], size),
  }));
}

/** The subsets that clean-fid draws: rows of the second set first. Source: clean-fid fid.py:93-110 */
export function cleanSubsets(random: Generator, counts: readonly [number, number], subsets: number, size: number): Subset[] {
  const taken = Math.min(...counts, size);
  return Array.from({ length: subsets }, () => {
    const second = chooseRows(random, counts[1], taken);
    return { first: chooseRows(random, counts[0], taken), second };
  });
}

/**
 * Kernel Inception distance: the unbiased estimate of the squared maximum mean discrepancy with k(x, y) = (x.y / d + 1)^3, a mean over
 * subsets, in float64. Source: Binkowski et al., arXiv 1801.01401; torch-fidelity metric_kid.py:21-60, 96-134
 * @param onSubset called after each subset; a promise is waited for
 * @throws InputError for sets of different widths, or subsets of fewer than two rows
 */
export async function kernelDistance(
  a: Features,
  b: Features,
  subsets: readonly Subset[],
  onSubset: (done: number, total: number) => void | Promise<void> = () => undefined,
): Promise<Kid> {
  if (a.dims !== b.dims) throw new InputError(`KID: features of ${a.dims} and of ${b.dims} numbers`);
  if (subsets.some(({ first }) => first.length < 2)) throw new InputError("KID: a subset needs at least two pictures");
  const products = productsOf(a, b, subsets);
  const perSubset: number[] = [];
  for (const subset of subsets) {
    perSubset.push(discrepancy(products(subset), subset.first.length, a.dims));
    await onSubset(perSubset.length, subsets.length);
  }
  const mean = perSubset.reduce((sum, x) => sum + x, 0) / subsets.length;
  return { mean, std: Math.sqrt(perSubset.reduce((sum, x) => sum + (x - mean) ** 2, 0) / subsets.length), perSubset };
}

/** Products of a subset's rows: of the first set's with each other, of the second's, and of the first's with the second's. */
type Products = readonly [aa: Matrix, bb: Matrix, ab: Matrix];

/** From the products of all rows, made once, where that is less work than those of every subset. */
function productsOf(a: Features, b: Features, subsets: readonly Subset[]): (subset: Subset) => Products {
  const size = subsets[0]?.first.length ?? 0;
  const [m, n] = [a.count, b.count];
  const [first, second] = [rowsOf(a), rowsOf(b)];
  if ((m * m + n * n) / 2 + m * n > subsets.length * 2 * size * size) {
    return (subset) => {
      const [x, y] = [picked(first, subset.first), picked(second, subset.second)];
      return [rowProducts(x, x), rowProducts(y, y), rowProducts(x, y)];
    };
  }
  const [aa, bb, ab] = [rowProducts(first, first), rowProducts(second, second), rowProducts(first, second)];
  return (subset) => [
    crossed(aa, subset.first, subset.first),
    crossed(bb, subset.second, subset.second),
    crossed(ab, subset.first, subset.second),
  ];
}

function rowsOf({ data, count, dims }: Features): Matrix {
  return matrix(count, dims, Float64Array.from(data));
}

function picked({ data, columns }: Matrix, rows: Int32Array): Matrix {
  const out = matrix(rows.length, columns);
  rows.forEach((row, i) => out.data.set(data.subarray(row * columns, (row + 1) * columns), i * columns));
  return out;
}

function crossed({ data, columns }: Matrix, rows: Int32Array, others: Int32Array): Matrix {
  const out = matrix(rows.length, others.length);
  rows.forEach((row, i) => others.forEach((column, j) => (out.data[i * others.length + j] = data[row * columns + column]!)));
  return out;
}

function discrepancy([aa, bb, ab]: Products, m: number, dims: number): number {
  const sum = ({ data }: Matrix, step: number): number => {
    let total = 0;
    for (let i = 0; i < data.length; i += step) total += (data[i]! / dims + 1) ** 3;
    return total;
  };
  const apart = (products: Matrix): number => sum(products, 1) - sum(products, m + 1); // without the diagonal
  return (apart(aa) + apart(bb)) / (m * (m - 1)) - (2 * sum(ab, 1)) / (m * m);
}
