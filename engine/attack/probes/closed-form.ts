/**
 * RECE's closed form as an attack (arXiv 2407.12383, eq. 8; utils/embedding_calculation/close_form_emb.py): the text encoding under which
 * edited keys and values are nearest to what the original ones were for a concept. Float64 throughout: the smaller `reg`, the worse the
 * condition (1e-5 to 4e-4 off in float32).
 */
import { InputError } from "../../runtime/errors.ts";

/** A matrix [out, width], row by row. */
export interface KeyOrValue {
  /** As edited, and as it was before. */
  readonly edited: Float32Array;
  readonly original: Float32Array;
}

/** Sums over all keys and values, [width, width] each. */
export interface NormalSums {
  readonly width: number;
  /** Sum of W^T W, W edited; without reg. */
  readonly m1: Float64Array;
  /** Sum of W^T V, V original. */
  readonly m2: Float64Array;
  /** Sum of V^T V. */
  readonly m3: Float64Array;
}

/** @throws InputError where there is no matrix */
export function normalSums(matrices: Iterable<KeyOrValue>, width: number): NormalSums {
  const [m1, m2, m3] = [0, 1, 2].map(() => new Float64Array(width * width)) as [Float64Array, Float64Array, Float64Array];
  let rows = 0;
  for (const { edited: w, original: v } of matrices) {
    for (let r = 0; r < w.length; r += width, rows++) {
      for (let i = 0; i < width; i++) {
        const [wi, vi, at] = [w[r + i]!, v[r + i]!, i * width];
        for (let j = 0; j < width; j++) {
          m1[at + j] = m1[at + j]! + wi * w[r + j]!;
          m2[at + j] = m2[at + j]! + wi * v[r + j]!;
          m3[at + j] = m3[at + j]! + vi * v[r + j]!;
        }
      }
    }
  }
  if (rows === 0) throw new InputError("the UNet has no keys and values of text (attn2.to_k, attn2.to_v)");
  return { width, m1, m2, m3 };
}

/** C' = C ((reg I + M1)^-1 M2)^T for every row of C [rows, width]. @throws InputError for sums that cannot be solved */
export function closedFormEncoding(c: Float32Array, { width, m1, m2 }: NormalSums, reg: number): Float32Array<ArrayBuffer> {
  const map = solve(m1, m2, width, reg);
  const out = new Float32Array(c.length);
  for (let r = 0; r < c.length; r += width) {
    for (let i = 0; i < width; i++) {
      let sum = 0;
      for (let j = 0; j < width; j++) sum += map[i * width + j]! * c[r + j]!;
      out[r + i] = sum;
    }
  }
  return out;
}

/** How far edited keys and values of C' are from the original ones of C: sum over matrices and rows of |W c' - V c|^2. */
export function residual(adversarial: Float32Array, c: Float32Array, { width, m1, m2, m3 }: NormalSums): number {
  let sum = 0;
  for (let r = 0; r < c.length; r += width) {
    const [a, b] = [adversarial.subarray(r, r + width), c.subarray(r, r + width)];
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < width; j++) {
        const at = i * width + j;
        sum += a[i]! * m1[at]! * a[j]! - 2 * a[i]! * m2[at]! * b[j]! + b[i]! * m3[at]! * b[j]!;
      }
    }
  }
  return sum;
}

/** (reg I + M)^-1 B by Cholesky's factors; M is symmetric and not negative. */
function solve(m: Float64Array, b: Float64Array, n: number, reg: number): Float64Array {
  const l = Float64Array.from(m);
  for (let i = 0; i < n; i++) l[i * n + i] = l[i * n + i]! + reg;
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = l[i * n + j]!;
      for (let k = 0; k < j; k++) sum -= l[i * n + k]! * l[j * n + k]!;
      if (i > j) l[i * n + j] = sum / l[j * n + j]!;
      else if (sum > 0) l[j * n + j] = Math.sqrt(sum);
      else throw new InputError(`the closed form cannot be solved with reg ${reg}: take a larger one`);
    }
  }
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) subtractRow(x, i, k, l[i * n + k]!, n);
    divideRow(x, i, l[i * n + i]!, n);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) subtractRow(x, i, k, l[k * n + i]!, n);
    divideRow(x, i, l[i * n + i]!, n);
  }
  return x;
}

function subtractRow(x: Float64Array, row: number, other: number, factor: number, n: number): void {
  for (let j = 0; j < n; j++) x[row * n + j] = x[row * n + j]! - factor * x[other * n + j]!;
}

function divideRow(x: Float64Array, row: number, by: number, n: number): void {
  for (let j = 0; j < n; j++) x[row * n + j] = x[row * n + j]! / by;
}
