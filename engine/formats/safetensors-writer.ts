/** Writer of safetensors files, in memory or piece by piece. */
import { DTYPE_BYTES, elementCount, type FileDType } from "./dtype.ts";
import { FormatError, quote } from "./errors.ts";

/** The official writer's order, widest first, which keeps every tensor aligned. */
const ORDER: readonly FileDType[] = [
  "U64",
  "I64",
  "F64",
  "F32",
  "U32",
  "I32",
  "BF16",
  "F16",
  "U16",
  "I16",
  "F8_E4M3",
  "F8_E5M2",
  "I8",
  "U8",
  "BOOL",
];

export interface TensorToWrite {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Dense row-major elements of that type, little-endian: any view whose bytes are the tensor's. */
  readonly data: ArrayBufferView;
}

/** A tensor whose bytes are asked for when they are written: a file may then be larger than memory. */
export interface TensorOnDemand {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Dense row-major elements of that type, little-endian. */
  readonly read: () => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
}

/** Tensors as they are written: by type, then by name; and what comes before them. @throws FormatError for one named `__metadata__` */
function arranged<T extends { readonly dtype: FileDType; readonly shape: readonly number[] }>(
  name: string,
  tensors: Readonly<Record<string, T>>,
  metadata: Readonly<Record<string, string>>,
): { readonly list: [string, T][]; readonly head: Uint8Array<ArrayBuffer>; readonly bytes: number } {
  const list = Object.entries(tensors).toSorted(([a, x], [b, y]) => ORDER.indexOf(x.dtype) - ORDER.indexOf(y.dtype) || (a < b ? -1 : 1));
  const rows: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  let bytes = 0;
  for (const [key, { dtype, shape }] of list) {
    if (key === "__metadata__") throw new FormatError(name, "a tensor cannot be named __metadata__");
    rows.push([key, { dtype, shape, data_offsets: [bytes, (bytes += sizeOf(dtype, shape))] }]);
  }
  const encoded = new TextEncoder().encode(JSON.stringify(Object.fromEntries(rows)));
  const headerBytes = Math.ceil(encoded.length / 8) * 8;
  const head = new Uint8Array(8 + headerBytes).fill(0x20, 8);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(encoded, 8);
  return { list, head, bytes };
}

function sizeOf(dtype: FileDType, shape: readonly number[]): number {
  return (elementCount(shape) ?? NaN) * DTYPE_BYTES[dtype];
}

/** @throws FormatError if a tensor's bytes do not fit its shape and type */
function requireSize(name: string, key: string, { dtype, shape }: Pick<TensorToWrite, "dtype" | "shape">, bytes: number): void {
  const expected = sizeOf(dtype, shape);
  if (bytes === expected) return;
  throw new FormatError(
    name,
    `tensor ${quote(key)} of shape [${shape.join(", ")}] and dtype ${dtype} takes ${expected} bytes, but ${bytes} are given`,
  );
}

/**
 * The file's bytes, in the official writer's order: by type, then by name, the header padded with spaces so that
 * every tensor lies at a multiple of its element size. The same input gives the same bytes.
 * @param name for error messages.
 * @throws FormatError if a tensor's bytes do not fit its shape and type, or it is named `__metadata__`.
 */
export function encodeSafetensors(
  name: string,
  tensors: Readonly<Record<string, TensorToWrite>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  for (const [key, tensor] of Object.entries(tensors)) requireSize(name, key, tensor, tensor.data.byteLength);
  const { list, head, bytes } = arranged(name, tensors, metadata);
  const out = new Uint8Array(head.length + bytes);
  out.set(head);
  let at = head.length;
  for (const [, { data }] of list) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

/** The same bytes in order, each tensor's when its turn comes. @throws FormatError as `encodeSafetensors` */
export async function* safetensorsPieces(
  name: string,
  tensors: Readonly<Record<string, TensorOnDemand>>,
  metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { list, head } = arranged(name, tensors, metadata);
  yield head;
  for (const [key, tensor] of list) {
    const bytes = await tensor.read();
    requireSize(name, key, tensor, bytes.length);
    yield bytes;
  }
}
