import { type Matrix, transposed } from "./matrix.ts";

/**
 * Singular values of a matrix, in no order: Householder reflections bring it to two diagonals d and e, which are those of the symmetric
 * tridiagonal matrix with zeros in its diagonal and d1, e1, d2, e2, ... beside it, whose eigenvalues are the singular values with both
 * signs. Nothing is squared on the way, so that each is off by at most a few roundings of the largest.
 * Source: Golub and Van Loan, Matrix Computations, 4th edition, 5.4.8 and 8.6.1.
 */
export function singularValues(a: Matrix): Float64Array {
  const { d, e } = bidiagonal(a.rows >= a.columns ? { ...a, data: a.data.slice() } : transposed(a));
  const beside = new Float64Array(2 * d.length - 1);
  d.forEach((x, i) => (beside[2 * i] = x));
  e.forEach((x, i) => (beside[2 * i + 1] = x));
  return tridiagonalEigenvalues(new Float64Array(2 * d.length), beside).filter((x) => x > 0);
}

/** Sum of the singular values. */
export function nuclearNorm(a: Matrix): number {
  return a.rows === 0 || a.columns === 0 ? 0 : singularValues(a).toSorted().reduce((sum, x) => sum + x, 0);
}

/** The two diagonals of an upper bidiagonal matrix with the same singular values. `a` is overwritten. */
function bidiagonal({ data, rows, columns }: Matrix): { d: Float64Array; e: Float64Array } {
  const d = new Float64Array(columns);
  const e = new Float64Array(Math.max(0, columns - 1));
  const v = new Float64Array(rows);
  const w = new Float64Array(Math.max(rows, columns));
  for (let k = 0; k < columns; k++) {
    // From the left: column k below the diagonal becomes zero. w = v^T A, A -= v w, row by row as the numbers lie.
    for (let i = k; i < rows; i++) v[i] = data[i * columns + k]!;
    const left = reflector(v, k, rows);
    d[k] = left.length;
    if (left.factor !== 0) {
      w.fill(0, k + 1, columns);
      for (let i = k; i < rows; i++) {
        const [at, x] = [i * columns, v[i]!];
        for (let j = k + 1; j < columns; j++) w[j]! += x * data[at + j]!;
      }
      for (let i = k; i < rows; i++) {
        const [at, x] = [i * columns, left.factor * v[i]!];
        for (let j = k + 1; j < columns; j++) data[at + j]! -= x * w[j]!;
      }
    }
    if (k >= columns - 1) continue;
    // From the right: row k beyond the second place becomes zero.
    const u = data.slice(k * columns, (k + 1) * columns);
    const right = reflector(u, k + 1, columns);
    e[k] = right.length;
    if (right.factor === 0) continue;
    for (let i = k + 1; i < rows; i++) {
      const at = i * columns;
      let sum = 0;
      for (let j = k + 1; j < columns; j++) sum += data[at + j]! * u[j]!;
      sum *= right.factor;
      for (let j = k + 1; j < columns; j++) data[at + j]! -= sum * u[j]!;
    }
  }
  return { d, e };
}

/**
 * Turns x[from, to) into the vector v of the reflection I - factor v v^T that leaves of x only `length` in its first place.
 * A vector that is zero already needs none: factor 0.
 */
function reflector(x: Float64Array, from: number, to: number): { readonly factor: number; readonly length: number } {
  let scale = 0;
  for (let i = from; i < to; i++) scale = Math.max(scale, Math.abs(x[i]!));
  if (scale === 0) return { factor: 0, length: 0 };
  let sum = 0;
  for (let i = from; i < to; i++) sum += (x[i]! /= scale) ** 2;
  const norm = x[from]! > 0 ? -Math.sqrt(sum) : Math.sqrt(sum);
  const factor = 1 / (sum - x[from]! * norm);
  x[from]! -= norm;
  return { factor, length: norm * scale };
}

/** Steps that one eigenvalue may take; two or three are usual. */
const MAX_STEPS = 60;

/**
 * Eigenvalues, in no order, of the symmetric tridiagonal matrix with diagonal `d` [n] and `beside` [n - 1] next to it, by the QL method
 * with implicit shifts; `d` is overwritten. Source: EISPACK imtql1 (Dubrulle, Martin, Wilkinson 1968).
 * @throws Error where it does not converge, which numbers that are not finite bring about
 */
export function tridiagonalEigenvalues(d: Float64Array, beside: Float64Array): Float64Array {
  const n = d.length;
  const e = new Float64Array(n);
  e.set(beside);
  // What is below the rounding of the largest is nothing: without this, the many zeros of a singular matrix would be told apart for long.
  const nothing = Number.EPSILON * beside.reduce((most, x, i) => Math.max(most, Math.abs(x), Math.abs(d[i]!)), 0);
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l;
      while (m < n - 1) {
        const size = Math.abs(d[m]!) + Math.abs(d[m + 1]!);
        if (Math.abs(e[m]!) <= Math.max(nothing, Number.EPSILON * size)) break;
        m++;
      }
      if (m === l) break;
      if (step === MAX_STEPS) throw new Error("the eigenvalues do not converge: the matrix holds numbers that are not finite");
      let g = (d[l + 1]! - d[l]!) / (2 * e[l]!);
      let r = Math.hypot(g, 1);
      g = d[m]! - d[l]! + e[l]! / (g + (g >= 0 ? r : -r));
      let [s, c, p] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const [f, b] = [s * e[i]!, c * e[i]!];
        e[i + 1] = r = Math.hypot(f, g);
        if (r === 0) {
          d[i + 1]! -= p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1]! - p;
        r = (d[i]! - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
      }
      if (r === 0 && i >= l) continue;
      d[l]! -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
  return d;
}
