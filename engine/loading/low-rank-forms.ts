/**
 * The differences that low-rank files stand for, in float64: LoRA and LoCon, LoHa, LoKr, whole differences; and DoRA's magnitudes on top of
 * them.
 * Source: github.com/KohakuBlueleaf/LyCORIS (lycoris/modules/locon.py, loha.py, lokr.py, full.py; functional/general.py),
 * kohya-ss/sd-scripts
 * networks/lora.py; DoRA: arXiv 2402.09353.
 */
import { elementCount } from "../formats/dtype.ts";
import type { LowRankRole } from "./names/low-rank.ts";

/** A factor: numbers in row-major order. */
export interface Factor64 {
  readonly data: Float64Array;
  readonly shape: readonly number[];
}

/** What a module has, by role. */
export type Parts<T> = Partial<Record<LowRankRole, T>>;

/** The size of a module's difference as a matrix, and the rank that its alpha is divided by; undefined: a difference that is not scaled. */
export interface FormSize {
  readonly rows: number;
  readonly columns: number;
  readonly rank: number | undefined;
}

type Shapes = Parts<readonly number[]>;

/** @returns its size, or what is missing @param kernel elements of the weight's kernel, 1 for a linear layer */
export function formSize(shapes: Shapes, kernel: number): FormSize | string {
  const { down, up, mid } = shapes;
  const whole = shapes.diff ?? shapes.w_norm;
  if (whole) return { rows: whole[0] ?? 0, columns: elementCount(whole.slice(1)) ?? 0, rank: undefined };
  if (down || up) {
    if (!down || !up) return `no ${down ? "up" : "down"} matrix`;
    const [rank = 0, ...inner] = down;
    const fits = mid ? mid[0] === up[1] && mid[1] === rank : up[1] === rank;
    return fits && elementCount(up.slice(2)) === 1
      ? { rows: up[0] ?? 0, columns: (elementCount(inner) ?? 0) * (mid ? (elementCount(mid.slice(2)) ?? 0) : 1), rank }
      : "matrices that do not fit each other";
  }
  if (shapes.hada_w1_a || shapes.hada_w1_b || shapes.hada_w2_a || shapes.hada_w2_b) return hadamardSize(shapes);
  return kroneckerSize(shapes, kernel);
}

function hadamardSize({ hada_w1_a: a1, hada_w1_b: b1, hada_w2_a: a2, hada_w2_b: b2, hada_t1: t1, hada_t2: t2 }: Shapes): FormSize | string {
  if (!a1 || !b1 || !a2 || !b2 || !t1 !== !t2) return "only some of LoHa's factors";
  const half = (a: readonly number[], b: readonly number[], t: readonly number[] | undefined): readonly number[] | undefined => {
    if (!t) return a.length === 2 && b.length === 2 && a[1] === b[0] ? [a[0]!, b[1]!] : undefined;
    return a.length === 2 && b.length === 2 && t[0] === a[0] && t[1] === b[0]
      ? [a[1]!, b[1]! * (elementCount(t.slice(2)) ?? 0)]
      : undefined;
  };
  const [first, second] = [half(a1, b1, t1), half(a2, b2, t2)];
  return first && second && first.join() === second.join()
    ? { rows: first[0]!, columns: first[1]!, rank: b1[0]! }
    : "factors of LoHa that do not fit each other";
}

function kroneckerSize(
  { lokr_w1: w1, lokr_w1_a: a1, lokr_w1_b: b1, lokr_w2: w2, lokr_w2_a: a2, lokr_w2_b: b2, lokr_t2: t2 }: Shapes,
  kernel: number,
): FormSize | string {
  const sizeOf = (a: readonly number[] | undefined, b: readonly number[] | undefined): readonly number[] | undefined =>
    a && b && a.length === 2 && b.length === 2 && a[1] === b[0] ? [a[0]!, b[1]!] : undefined;
  const first = w1 ?? sizeOf(a1, b1);
  const tucker = t2 && a2 && b2 && t2[0] === a2[0] && t2[1] === b2[0] ? [a2[1]!, b2[1]! * (elementCount(t2.slice(2)) ?? 0)] : undefined;
  const second = w2 ? [w2[0] ?? 0, elementCount(w2.slice(1)) ?? 0] : t2 ? tucker : sizeOf(a2, b2);
  if (first?.length !== 2 || !second || second[1]! % kernel !== 0) return "no factors that make a difference";
  return { rows: first[0]! * second[0]!, columns: first[1]! * second[1]!, rank: b2?.[0] ?? b1?.[0] };
}

/** The difference [rows, columns] without its scale. @param parts as `formSize` has found them good */
export function difference(parts: Parts<Factor64>, kernel: number): Float64Array {
  const { down, up, mid, diff, w_norm: norm, hada_w1_a: a1, hada_w1_b: b1, hada_w2_a: a2, hada_w2_b: b2, hada_t1: t1, hada_t2: t2 } = parts;
  if (diff ?? norm) return (diff ?? norm)!.data;
  if (down && up) {
    const [rows, rank] = [up.shape[0]!, up.shape[1]!];
    return mid
      ? core(mid, transposed(up.data, rows, rank), rows, down.data, down.data.length / down.shape[0]!)
      : product(up.data, down.data, rank);
  }
  if (a1 && b1 && a2 && b2) {
    const half = (a: Factor64, b: Factor64, t: Factor64 | undefined): Float64Array =>
      t ? core(t, a.data, a.shape[1]!, b.data, b.shape[1]!) : product(a.data, b.data, a.shape[1]!);
    const [first, second] = [half(a1, b1, t1), half(a2, b2, t2)];
    return first.map((x, i) => x * second[i]!);
  }
  const { lokr_w1: w1, lokr_w1_a: w1a, lokr_w1_b: w1b, lokr_w2: w2, lokr_w2_a: w2a, lokr_w2_b: w2b, lokr_t2: t } = parts;
  const first = w1 ?? { data: product(w1a!.data, w1b!.data, w1a!.shape[1]!), shape: [w1a!.shape[0]!, w1b!.shape[1]!] };
  const rows = w2 ? w2.shape[0]! : t ? w2a!.shape[1]! : w2a!.shape[0]!;
  const second = w2 ? w2.data : t ? core(t, w2a!.data, rows, w2b!.data, w2b!.shape[1]!) : product(w2a!.data, w2b!.data, w2a!.shape[1]!);
  return kronecker(first, second, rows, kernel);
}

/** a [m, inner] times b [inner, n]. */
function product(a: Float64Array, b: Float64Array, inner: number): Float64Array {
  const n = b.length / inner;
  const out = new Float64Array((a.length / inner) * n);
  for (let row = 0; row * inner < a.length; row++) {
    for (let k = 0; k < inner; k++) {
      const factor = a[row * inner + k]!;
      for (let i = 0; i < n; i++) out[row * n + i]! += factor * b[k * n + i]!;
    }
  }
  return out;
}

function transposed(data: Float64Array, rows: number, columns: number): Float64Array {
  return data.map((_, at) => data[(at % rows) * columns + Math.floor(at / rows)]!);
}

/** Tucker's form: sum over i and j of t[i, j, kernel] a[i, p] b[j, r], as [p, r, kernel]. */
function core({ data: t, shape }: Factor64, a: Float64Array, p: number, b: Float64Array, r: number): Float64Array {
  const [i, j] = shape as [number, number];
  const kernel = t.length / (i * j);
  const half = product(transposed(a, i, p), t, i); // [p, j, kernel]
  const out = new Float64Array(p * r * kernel);
  for (let row = 0; row < p; row++) {
    for (let m = 0; m < j; m++) {
      for (let column = 0; column < r; column++) {
        const factor = b[m * r + column]!;
        for (let k = 0; k < kernel; k++) out[(row * r + column) * kernel + k]! += factor * half[(row * j + m) * kernel + k]!;
      }
    }
  }
  return out;
}

/** Every number of a matrix times the whole of w2 [rows, columns, kernel], in its place. */
function kronecker({ data: w1, shape }: Factor64, w2: Float64Array, rows: number, kernel: number): Float64Array {
  const [, across] = shape as [number, number];
  const columns = w2.length / rows / kernel;
  const width = across * columns * kernel;
  const out = new Float64Array(w1.length * w2.length);
  for (const [at, factor] of w1.entries()) {
    const [top, left] = [Math.floor(at / across) * rows, (at % across) * columns * kernel];
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < columns * kernel; i++) out[(top + row) * width + left + i] = factor * w2[row * columns * kernel + i]!;
    }
  }
  return out;
}

/**
 * DoRA: merged weights [out, in, kernel] given the magnitudes that were learned, in place. Each output's (or input's) weights are scaled by
 * magnitude / norm; a
 * strength s goes from 1 to that by (magnitude / norm - 1) s + 1, as LyCORIS has it.
 */
export function applyMagnitudes(
  merged: Float64Array,
  outputs: number,
  kernel: number,
  magnitude: Float64Array,
  onOutputs: boolean,
  strength: number,
): void {
  const row = merged.length / outputs;
  const groupOf = (at: number): number => (onOutputs ? Math.floor(at / row) : Math.floor((at % row) / kernel));
  const squares = new Float64Array(magnitude.length);
  for (let at = 0; at < merged.length; at++) squares[groupOf(at)]! += merged[at]! ** 2;
  const factors = magnitude.map((m, i) => (squares[i]! > 0 ? (m / Math.sqrt(squares[i]!) - 1) * strength + 1 : 1));
  for (let at = 0; at < merged.length; at++) merged[at]! *= factors[groupOf(at)]!;
}
