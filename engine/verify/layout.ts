import type { NDArray } from "../nn/array.ts";

/** [N, C, ...] to [N, ..., C]. */
export function channelsLast({ data, shape }: NDArray): NDArray {
  const [n, c, ...rest] = shape as [number, number, ...number[]];
  return { data: exchange(data, n, c, data.length / Math.max(1, n * c)), shape: [n, ...rest, c] };
}

/** [N, ..., C] to [N, C, ...]. */
export function channelsFirst({ data, shape }: NDArray): NDArray {
  const [n, c] = [shape[0]!, shape.at(-1)!];
  return { data: exchange(data, n, data.length / Math.max(1, n * c), c), shape: [n, c, ...shape.slice(1, -1)] };
}

/** Exchanges the last two dimensions of [n, rows, columns]. */
function exchange(data: Float32Array<ArrayBuffer>, n: number, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(data.length);
  for (let b = 0; b < n; b++) {
    const start = b * rows * columns;
    for (let r = 0; r < rows; r++) for (let k = 0; k < columns; k++) out[start + k * rows + r] = data[start + r * columns + k]!;
  }
  return out;
}

/** Part `index` of the first dimension, with that dimension 1. */
export function part({ data, shape }: NDArray, index: number): NDArray {
  const size = data.length / shape[0]!;
  return { data: data.slice(index * size, (index + 1) * size), shape: [1, ...shape.slice(1)] };
}
