import { ShapeError } from "../../kernels/kernel.ts";

/** How arrays go in and out of the engine: row-major float32; pictures and latents are NCHW, as the field's. */
export interface NDArray {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

/** @throws ShapeError naming `what` unless the shape has the wanted dimensions (undefined: any) and the data fits it. */
export function expectShape(what: string, array: NDArray, wanted: readonly (number | undefined)[]): NDArray {
  const fits = array.shape.length === wanted.length && wanted.every((d, i) => d === undefined || d === array.shape[i]);
  if (!fits) throw new ShapeError(what, `expected [${wanted.map((d) => d ?? "any").join(",")}], got [${array.shape.join(",")}]`);
  const count = array.shape.reduce((a, b) => a * b, 1);
  if (count !== array.data.length) {
    throw new ShapeError(what, `shape [${array.shape.join(",")}] needs ${count} numbers, got ${array.data.length}`);
  }
  return array;
}

/** Numbers of one kind, one after the other, in memory of their own. */
export function joined(parts: readonly Float32Array[]): Float32Array<ArrayBuffer>;
/** The same for bit patterns of halves. */
export function joined<T extends Float32Array | Uint16Array>(parts: readonly T[]): T;
export function joined(parts: readonly (Float32Array | Uint16Array)[]): Float32Array | Uint16Array {
  const length = parts.reduce((n, part) => n + part.length, 0);
  const all = parts[0] instanceof Uint16Array ? new Uint16Array(length) : new Float32Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Of `count` matrices [rows, columns] their transposes. */
function transposed(data: Float32Array, count: number, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(data.length);
  for (let first = 0; first < count * rows * columns; first += rows * columns) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) out[first + c * rows + r] = data[first + r * columns + c]!;
    }
  }
  return out;
}

/** NCHW numbers as the engine's channels-last order. */
export function toChannelsLast({ data, shape }: NDArray): Float32Array<ArrayBuffer> {
  const [n, c, h, w] = shape as [number, number, number, number];
  return transposed(data, n, c, h * w);
}

/** Channels-last numbers [N, H, W, C] as an NCHW array. */
export function fromChannelsLast(data: Float32Array<ArrayBuffer>, [n, h, w, c]: readonly [number, number, number, number]): NDArray {
  return { data: transposed(data, n, h * w, c), shape: [n, c, h, w] };
}

/** Arrays of one shape but for the first dimension, after each other along it. */
export function stackRows(arrays: readonly NDArray[]): NDArray {
  const rows = arrays.reduce((n, a) => n + a.shape[0]!, 0);
  return { data: joined(arrays.map((a) => a.data)), shape: [rows, ...arrays[0]!.shape.slice(1)] };
}
