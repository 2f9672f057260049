/** Writer of safetensors files. */
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
  const list = Object.entries(tensors).toSorted(([a, x], [b, y]) => ORDER.indexOf(x.dtype) - ORDER.indexOf(y.dtype) || (a < b ? -1 : 1));
  const rows: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  let offset = 0;
  for (const [key, { dtype, shape, data }] of list) {
    const expected = (elementCount(shape) ?? NaN) * DTYPE_BYTES[dtype];
    if (key === "__metadata__") throw new FormatError(name, "a tensor cannot be named __metadata__");
    if (data.byteLength !== expected) {
      throw new FormatError(
        name,
        `tensor ${quote(key)} of shape [${shape.join(", ")}] and dtype ${dtype} takes ${expected} bytes, but ${data.byteLength} are given`,
      );
    }
    rows.push([key, { dtype, shape, data_offsets: [offset, offset + expected] }]);
    offset += expected;
  }
  const json = JSON.stringify(Object.fromEntries(rows));
  const encoded = new TextEncoder().encode(json);
  const headerBytes = Math.ceil(encoded.length / 8) * 8;
  const out = new Uint8Array(8 + headerBytes + offset).fill(0x20, 8, 8 + headerBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true);
  out.set(encoded, 8);
  let at = 8 + headerBytes;
  for (const [, { data }] of list) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}
