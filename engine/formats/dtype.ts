/**
 * Element types of checkpoint files, by safetensors' names, and their conversion to what the engine computes with.
 * Bytes are little-endian, as WebGPU's hosts are.
 */
import { bfloat16ToFloat32, float16ToFloat32 } from "./half.ts";

export const DTYPE_BYTES = {
  F64: 8, F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, F8_E5M2: 1,
  I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1,
} as const;

export type FileDType = keyof typeof DTYPE_BYTES;

/** Whether `name` is an element type this project knows. */
export function isFileDType(name: unknown): name is FileDType {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}

/** Whether elements are floats that are computed with; 8-bit floats are only recognised. */
export function isFloatDType(dtype: FileDType): boolean {
  return dtype === "F64" || dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/** Number of elements of a shape, or undefined if a dimension is not a whole number >= 0 or the product leaves the exact integers. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) return undefined;
  if (shape.includes(0)) return 0;
  for (const dimension of shape) {
    count *= dimension;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

/** The bytes as an array of the wanted kind, without a copy where they are aligned. */
function view<T>(
  bytes: Uint8Array<ArrayBuffer>,
  Type: { new (buffer: ArrayBuffer, offset: number, length: number): T; readonly BYTES_PER_ELEMENT: number },
): T {
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
  return new Type(aligned.buffer, aligned.byteOffset, aligned.byteLength / Type.BYTES_PER_ELEMENT);
}

/** Elements as numbers in the narrowest array that holds them exactly; undefined for the types that are only recognised (F8). */
function numbers(dtype: FileDType, bytes: Uint8Array<ArrayBuffer>): ArrayLike<number> | BigInt64Array | BigUint64Array | undefined {
  switch (dtype) {
    case "F64": return view(bytes, Float64Array);
    case "F32": return view(bytes, Float32Array);
    case "F16": return float16ToFloat32(view(bytes, Uint16Array));
    case "BF16": return bfloat16ToFloat32(view(bytes, Uint16Array));
    case "I64": return view(bytes, BigInt64Array);
    case "U64": return view(bytes, BigUint64Array);
    case "I32": return view(bytes, Int32Array);
    case "U32": return view(bytes, Uint32Array);
    case "I16": return view(bytes, Int16Array);
    case "U16": return view(bytes, Uint16Array);
    case "I8": return view(bytes, Int8Array);
    case "U8": return bytes;
    case "BOOL": return bytes.map((byte) => (byte ? 1 : 0));
    default: return undefined;
  }
}

/**
 * Elements as float32 (rounded to nearest where wider). Undefined for 8-bit floats, which nothing here uses. May share memory with `bytes`.
 */
export function toFloat32(dtype: FileDType, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> | undefined {
  return as(Float32Array, numbers(dtype, bytes));
}

/** Elements as float64, exactly up to 2^53. Undefined for 8-bit floats. */
export function toFloat64(dtype: FileDType, bytes: Uint8Array<ArrayBuffer>): Float64Array<ArrayBuffer> | undefined {
  return as(Float64Array, numbers(dtype, bytes));
}

function as<T extends Float32Array | Float64Array>(
  Type: { new (length: number): T; from(values: ArrayLike<number | bigint>, convert: (value: number | bigint) => number): T },
  values: ReturnType<typeof numbers>,
): T | undefined {
  return values instanceof Type || values === undefined ? values : Type.from(values, Number);
}

/** Reverses the bytes of each element in place, for files written on a big-endian machine. */
export function swapBytes(bytes: Uint8Array, elementBytes: number): void {
  for (let start = 0; start + elementBytes <= bytes.length; start += elementBytes) bytes.subarray(start, start + elementBytes).reverse();
}
