/** Arrays in NumPy's own format, one to a file. Source: numpy/lib/format.py, versions 1.0 to 3.0. */
import { toFloat64 } from "../dtype.ts";
import { FormatError, quote } from "../errors.ts";

/** Numbers in row-major order. */
export interface NpyArray {
  readonly data: Float64Array<ArrayBuffer>;
  readonly shape: readonly number[];
  readonly dtype: "F32" | "F64";
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY
const DTYPES: Readonly<Record<string, "F32" | "F64">> = { "<f4": "F32", "<f8": "F64" };

/** @throws FormatError for anything but little-endian float32 or float64 of at most two dimensions, in C or Fortran order */
export function readNpy(file: string, bytes: Uint8Array<ArrayBuffer>): NpyArray {
  if (bytes.length < 12 || !MAGIC.every((byte, i) => bytes[i] === byte)) throw new FormatError(file, "is not a NumPy array");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6]! >= 2;
  const start = wide ? 12 : 10;
  const end = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, Math.min(end, bytes.length)));
  const part = (name: string, pattern: string): string | undefined => new RegExp(`['"]${name}['"]\\s*:\\s*${pattern}`).exec(header)?.[1];
  const descr = part("descr", `['"]([^'"]*)['"]`);
  const order = part("fortran_order", "(True|False)");
  const sizes = part("shape", String.raw`\(([\d,\sL]*)\)`);
  const dtype = descr === undefined ? undefined : DTYPES[descr];
  if (!dtype) throw new FormatError(file, `is a NumPy array of type ${quote(descr ?? header)}; "<f4" and "<f8" can be read`);
  const shape = sizes?.split(",").map((s) => s.trim()).filter(Boolean).map(Number.parseFloat);
  if (!shape || order === undefined || shape.length > 2) {
    throw new FormatError(file, `has a header that cannot be read: ${quote(header.trim())}`);
  }
  const count = shape.reduce((a, b) => a * b, 1);
  const size = count * (dtype === "F32" ? 4 : 8);
  if (end + size !== bytes.length) {
    throw new FormatError(file, `holds ${bytes.length - end} bytes of numbers, its shape [${shape.join(", ")}] needs ${size}`);
  }
  const data = toFloat64(dtype, bytes.slice(end))!;
  const [rows, columns] = shape;
  if (order === "False" || rows === undefined || columns === undefined) return { data, shape, dtype };
  return { data: Float64Array.from({ length: count }, (_, i) => data[(i % columns) * rows + Math.floor(i / columns)]!), shape, dtype };
}

/** Numbers as float64 in C order, as `numpy.save` writes them. @throws RangeError if the data does not fill the shape */
export function writeNpy(data: Float64Array<ArrayBuffer>, shape: readonly number[]): Uint8Array<ArrayBuffer> {
  if (shape.reduce((a, b) => a * b, 1) !== data.length) throw new RangeError(`writeNpy: [${shape.join(", ")}] with ${data.length} numbers`);
  const text = `{'descr': '<f8', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const out = new Uint8Array(10 + length + data.length * 8);
  out.set([...MAGIC, 1, 0, length & 255, length >> 8]);
  out.set(new TextEncoder().encode(`${text.padEnd(length - 1)}\n`), 10);
  const view = new DataView(out.buffer);
  data.forEach((x, i) => view.setFloat64(10 + length + i * 8, x, true));
  return out;
}
