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

/** NCHW numbers as the engine's channels-last order. */
export function toChannelsLast({ data, shape }: NDArray): Float32Array<ArrayBuffer> {
  const [n, c, h, w] = shape as [number, number, number, number];
  const pixels = h * w;
  const out = new Float32Array(data.length);
  for (let b = 0; b < n; b++) {
    for (let k = 0; k < c; k++) {
      const from = (b * c + k) * pixels;
      for (let p = 0; p < pixels; p++) out[(b * pixels + p) * c + k] = data[from + p]!;
    }
  }
  return out;
}

/** Channels-last numbers [N, H, W, C] as an NCHW array. */
export function fromChannelsLast(data: Float32Array<ArrayBuffer>, [n, h, w, c]: readonly [number, number, number, number]): NDArray {
  const pixels = h * w;
  const out = new Float32Array(data.length);
  for (let b = 0; b < n; b++) {
    for (let k = 0; k < c; k++) {
      const to = (b * c + k) * pixels;
      for (let p = 0; p < pixels; p++) out[to + p] = data[(b * pixels + p) * c + k]!;
    }
  }
  return { data: out, shape: [n, c, h, w] };
}

/** Arrays of one shape after each other along their first dimension. */
export function stackRows(arrays: readonly NDArray[]): NDArray {
  const [first] = arrays as readonly [NDArray, ...NDArray[]];
  const data = new Float32Array(arrays.reduce((n, a) => n + a.data.length, 0));
  let at = 0;
  for (const a of arrays) {
    data.set(a.data, at);
    at += a.data.length;
  }
  return { data, shape: [arrays.reduce((n, a) => n + a.shape[0]!, 0), ...first.shape.slice(1)] };
}
