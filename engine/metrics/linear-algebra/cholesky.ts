import { type Matrix, matrix } from "./matrix.ts";

/** Parts of the largest diagonal element that rounding explains: below the first a pivot is nothing, beyond the second the rest is not. */
const NOTHING = 4 * Number.EPSILON;
const ROUNDING = 1e-5;

/**
 * F [rank, n] with F^T F = a, for a symmetric positive semidefinite matrix: Cholesky's method, always going on with the largest element
 * left in the diagonal, until nothing but rounding is left. Returns undefined for a matrix with a negative eigenvalue beyond rounding.
 * Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 10.3.
 */
export function choleskyFactor(a: Matrix): Matrix | undefined {
  const n = a.rows;
  const left = a.data.slice();
  const taken = new Uint8Array(n);
  const factor = matrix(n, n);
  let largest = 0;
  for (let i = 0; i < n; i++) largest = Math.max(largest, Math.abs(a.data[i * n + i]!));
  let rank = 0;
  for (; rank < n; rank++) {
    let pivot = -1;
    for (let i = 0; i < n; i++) if (!taken[i] && (pivot < 0 || left[i * n + i]! > left[pivot * n + pivot]!)) pivot = i;
    const size = left[pivot * n + pivot]!;
    if (!(size > NOTHING * n * largest)) break;
    taken[pivot] = 1;
    const row = factor.data.subarray(rank * n, (rank + 1) * n);
    const root = Math.sqrt(size);
    for (let j = 0; j < n; j++) if (!taken[j] || j === pivot) row[j] = left[pivot * n + j]! / root;
    for (let i = 0; i < n; i++) {
      const x = row[i]!;
      if (taken[i] || x === 0) continue;
      for (let j = 0, at = i * n; j < n; j++) left[at + j]! -= x * row[j]!;
    }
  }
  for (let i = 0; i < n; i++) {
    if (taken[i]) continue;
    for (let j = 0; j < n; j++) if (!taken[j] && Math.abs(left[i * n + j]!) > ROUNDING * largest) return undefined;
  }
  return matrix(rank, n, factor.data.slice(0, rank * n));
}
