import { type NDArray, fromChannelsLast, toChannelsLast } from "../nn/array.ts";

/** [N, C, ...] to [N, ..., C]. */
export function channelsLast({ data, shape }: NDArray): NDArray {
  const [n, c, ...rest] = shape as [number, number, ...number[]];
  return { data: toChannelsLast({ data, shape: [n, c, data.length / Math.max(1, n * c), 1] }), shape: [n, ...rest, c] };
}

/** [N, ..., C] to [N, C, ...]. */
export function channelsFirst({ data, shape }: NDArray): NDArray {
  const [n, c] = [shape[0]!, shape.at(-1)!];
  return { data: fromChannelsLast(data, [n, data.length / Math.max(1, n * c), 1, c]).data, shape: [n, c, ...shape.slice(1, -1)] };
}

/** Parts `from` to `to` of the first dimension. */
export function parts({ data, shape }: NDArray, from: number, to: number): NDArray {
  const size = data.length / shape[0]!;
  return { data: data.slice(from * size, to * size), shape: [to - from, ...shape.slice(1)] };
}

/** Part `index` of the first dimension, with that dimension 1. */
export function part(all: NDArray, index: number): NDArray {
  return parts(all, index, index + 1);
}
