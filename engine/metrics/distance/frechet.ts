import { InputError } from "../../runtime/errors.ts";
import { choleskyFactor } from "../linear-algebra/cholesky.ts";
import { type Matrix, matrix, orthonormalRows, rowProducts } from "../linear-algebra/matrix.ts";
import { nuclearNorm } from "../linear-algebra/singular-values.ts";
import { type Features, type Statistics, meanOf, statisticsOf } from "./statistics.ts";

/** One of the two sets of a distance: its rows, its statistics, or both. */
export interface FeatureSet {
  /** For errors. */
  readonly name: string;
  readonly statistics?: Statistics | undefined;
  readonly features?: Features | undefined;
}

/** What the reference adds to both diagonals where its root is not finite. Source: pytorch-fid 0.3.0 fid_score.py:171, 203-208 */
export const REFERENCE_EPSILON = 1e-6;

/** Of the traces, what the sums of a distance may be off by. Equal sets of 6 to 2,000 pictures came out at 1e-15 to 1e-14 of them. */
const ROUNDING = 1e-13;

export interface Frechet {
  /** Of equal sets it may come out as -1e-14; with an epsilon it may be negative. */
  readonly distance: number;
  /** |mu1 - mu2|^2, a part of it. */
  readonly meanTerm: number;
  /** Below this it is rounding. */
  readonly noise: number;
}

/**
 * |mu1 - mu2|^2 + tr s1 + tr s2 - 2 tr sqrt(s1 s2), in float64. With s1 = F1^T F1 and s2 = F2^T F2 the last trace is the sum of the
 * singular values of F1 F2^T: no root of a 2048 x 2048 matrix, and no noise where there are fewer pictures than dimensions.
 * @param options `epsilon` is added to both diagonals inside the root only
 * @throws InputError for sets of different widths, and for a covariance with a negative eigenvalue
 */
export function frechetDistance(a: FeatureSet, b: FeatureSet, options: { readonly epsilon?: number } = {}): Frechet {
  const [first, second] = [momentsOf(a), momentsOf(b)];
  const [m, n] = [first.mean.length, second.mean.length];
  if (m !== n) throw new InputError(`${m} features of ${a.name}, ${n} of ${b.name}: they are of different networks or layers`);
  const root = rootTrace(first.factor, second.factor, options.epsilon ?? 0);
  const meanTerm = first.mean.reduce((sum, x, i) => sum + (x - second.mean[i]!) ** 2, 0);
  const traces = first.trace + second.trace;
  return { distance: meanTerm + traces - 2 * root, meanTerm, noise: ROUNDING * (meanTerm + traces) };
}

/**
 * tr sqrt((F1^T F1 + epsilon I)(F2^T F2 + epsilon I)). With an epsilon only the space that the factors' rows span needs a root; each
 * dimension outside of it adds epsilon.
 */
function rootTrace(a: Matrix, b: Matrix, epsilon: number): number {
  if (epsilon === 0) return nuclearNorm(rowProducts(a, b));
  const basis = orthonormalRows([a, b]);
  const shifted = (factor: Matrix): Matrix => {
    const columns = rowProducts(basis, factor);
    const covariance = rowProducts(columns, columns);
    for (let i = 0; i < basis.rows; i++) covariance.data[i * basis.rows + i]! += epsilon;
    return choleskyFactor(covariance)!; // positive definite by what was added
  };
  return nuclearNorm(rowProducts(shifted(a), shifted(b))) + (a.columns - basis.rows) * epsilon;
}

/** What a distance takes of a set: F [rank or rows, d] with F^T F the covariance, and the covariance's trace. */
interface Moments {
  readonly mean: Float64Array;
  readonly factor: Matrix;
  readonly trace: number;
}

/** From the rows themselves where they are fewer than dimensions, otherwise from the statistics, which are made if need be. */
function momentsOf({ name, statistics, features }: FeatureSet): Moments {
  if (features && features.count <= features.dims) {
    const mean = statistics?.mean ?? meanOf(features);
    const factor = centredRows(features, mean);
    return { mean, factor, trace: factor.data.reduce((sum, x) => sum + x * x, 0) };
  }
  const { mean, covariance } = statistics ?? statisticsOf(features!);
  const factor = choleskyFactor(covariance);
  if (factor) return { mean, factor, trace: trace(covariance) };
  throw new InputError(
    `${name}: its sigma has a negative eigenvalue, so it is not a covariance, and the square root of the product has an imaginary ` +
      "component",
  );
}

/** (x - mean) / sqrt(n - 1) for each row. */
function centredRows({ data, count, dims }: Features, mean: Float64Array): Matrix {
  const scale = 1 / Math.sqrt(count - 1);
  return matrix(count, dims, Float64Array.from(data, (x, i) => (x - mean[i % dims]!) * scale));
}

function trace({ data, rows }: Matrix): number {
  let sum = 0;
  for (let i = 0; i < rows; i++) sum += data[i * rows + i]!;
  return sum;
}

/** scipy takes roots of blocks of so many columns, and between blocks in a way that does not fail. */
const SCIPY_BLOCK = 64;

/**
 * Whether the reference's root of s1 s2 is not finite, so that it adds REFERENCE_EPSILON: features that do not vary in one set alone and
 * others that do not vary in the other alone give the product two eigenvalues that are exactly zero and not apart from each other, by whose
 * sum scipy's root divides where both lie in one block. For more features, and for other singular matrices, LAPACK's rounding decides,
 * which cannot be foretold. Source: scipy 1.10 linalg/_matfuncs_sqrtm.py, _sqrtm_triu
 */
export function takesEpsilon(a: Statistics, b: Statistics): boolean {
  if (Math.floor(a.mean.length / SCIPY_BLOCK) > 1) return false;
  const still = ({ covariance: { data, rows } }: Statistics): Set<number> =>
    new Set(Array.from({ length: rows }, (_, i) => i).filter((i) => data[i * rows + i] === 0));
  const [first, second] = [still(a), still(b)];
  return [...first].some((i) => !second.has(i)) && [...second].some((i) => !first.has(i));
}
