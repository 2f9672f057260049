import { InputError } from "../../runtime/errors.ts";
import { choleskyFactor } from "../linear-algebra/cholesky.ts";
import { type Matrix, matrix, rowProducts } from "../linear-algebra/matrix.ts";
import { nuclearNorm } from "../linear-algebra/singular-values.ts";
import type { Features, Statistics } from "./statistics.ts";

/** One of the two sets of a distance: its statistics and, where they are at hand, its rows. */
export interface FeatureSet {
  /** For errors. */
  readonly name: string;
  readonly statistics: Statistics;
  readonly features?: Features | undefined;
}

/** What the reference adds to both diagonals where its root is not finite. Source: pytorch-fid 0.3.0 fid_score.py:171, 203-208 */
export const REFERENCE_EPSILON = 1e-6;

export interface Frechet {
  /** Of equal sets it may come out as -1e-14; with an epsilon it may be negative. */
  readonly distance: number;
  /** |mu1 - mu2|^2, a part of it. */
  readonly meanTerm: number;
}

/**
 * |mu1 - mu2|^2 + tr s1 + tr s2 - 2 tr sqrt(s1 s2), in float64. With s1 = F1^T F1 and s2 = F2^T F2 the last trace is the sum of the singular
 * values of F1 F2^T: no root of a 2048 x 2048 matrix, and no noise where there are fewer pictures than dimensions.
 * @param options `epsilon` is added to both diagonals inside the root only
 * @throws InputError for sets of different widths, and for a covariance with a negative eigenvalue
 */
export function frechetDistance(a: FeatureSet, b: FeatureSet, options: { readonly epsilon?: number } = {}): Frechet {
  const { epsilon = 0 } = options;
  requireSameWidth(a, b);
  const root = nuclearNorm(rowProducts(factorOf(a, epsilon), factorOf(b, epsilon)));
  const meanTerm = a.statistics.mean.reduce((sum, m, i) => sum + (m - b.statistics.mean[i]!) ** 2, 0);
  const traces = trace(a.statistics.covariance) + trace(b.statistics.covariance);
  return { distance: meanTerm + traces - 2 * root, meanTerm };
}

/** @throws InputError */
function requireSameWidth(a: FeatureSet, b: FeatureSet): void {
  const [m, n] = [a.statistics.mean.length, b.statistics.mean.length];
  if (m !== n) throw new InputError(`${a.name} has ${m} features, ${b.name} has ${n}: they are of different networks or layers`);
}

/** F [rank or rows, d] with F^T F the covariance. */
function factorOf({ name, statistics, features }: FeatureSet, epsilon: number): Matrix {
  if (features && features.count <= features.dims && epsilon === 0) return centredRows(features, statistics);
  const { covariance } = statistics;
  const n = covariance.rows;
  const shifted = epsilon === 0 ? covariance : matrix(n, n, covariance.data.slice());
  if (epsilon !== 0) for (let i = 0; i < n; i++) shifted.data[i * n + i]! += epsilon;
  const factor = choleskyFactor(shifted);
  if (factor) return factor;
  throw new InputError(
    `${name}: its sigma has a negative eigenvalue, so it is not a covariance, and the square root of the product has an imaginary component`,
  );
}

/** (x - mean) / sqrt(n - 1) for each row. */
function centredRows({ data, count, dims }: Features, { mean }: Statistics): Matrix {
  const scale = 1 / Math.sqrt(count - 1);
  return matrix(count, dims, Float64Array.from(data, (x, i) => (x - mean[i % dims]!) * scale));
}

function trace({ data, rows }: Matrix): number {
  let sum = 0;
  for (let i = 0; i < rows; i++) sum += data[i * rows + i]!;
  return sum;
}

/**
 * Whether the reference's root of s1 s2 is not finite, so that it adds REFERENCE_EPSILON: features that do not vary in one set alone and
 * others that do not vary in the other alone give the product two eigenvalues that are exactly zero and not apart from each other, which
 * scipy's root divides by. Where LAPACK's rounding makes such zeros of other singular matrices cannot be foretold.
 * Source: scipy 1.10 linalg/_matfuncs_sqrtm.py, _sqrtm_triu
 */
export function takesEpsilon(a: Statistics, b: Statistics): boolean {
  const still = ({ covariance: { data, rows } }: Statistics): Set<number> =>
    new Set(Array.from({ length: rows }, (_, i) => i).filter((i) => data[i * rows + i] === 0));
  const [first, second] = [still(a), still(b)];
  return [...first].some((i) => !second.has(i)) && [...second].some((i) => !first.has(i));
}
