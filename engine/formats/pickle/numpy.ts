/**
 * A NumPy array in a bare pickle, as `pickle.dump(array, file)` writes it, read without running anything.
 * Source: numpy's ndarray.__reduce__ (protocol 2 to 4: `_reconstruct` and a state) and __reduce_ex__ (protocol 5: `_frombuffer`).
 */
import { DTYPE_BYTES, elementCount, type FileDType, swapBytes, toFloat32 } from "../dtype.ts";
import { FormatError, quote } from "../errors.ts";
import { unpickle } from "./pickle.ts";
import { describe, PickleObject, PickleTuple, type PickleValue } from "./values.ts";
import { torchHost } from "./torch-values.ts";

const NUMPY_DTYPES: Readonly<Record<string, FileDType>> = { f2: "F16", f4: "F32", f8: "F64" };

/** Row-major numbers. */
export interface FloatArray {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

/** @throws FormatError for damage, a refused pickle, or one that holds anything but an array of floats in row-major order. */
export function readNumpyPickle(file: string, bytes: Uint8Array): FloatArray {
  const { value } = unpickle(file, bytes, torchHost(file));
  const parts = value instanceof PickleObject ? arrayParts(value) : undefined;
  if (!parts) throw new FormatError(file, `is a pickle of ${describe(value)}, not of a NumPy array`);
  const { shape, type, columnMajor, data } = parts;
  const sizes =
    shape instanceof PickleTuple && shape.items.every((d): d is number => typeof d === "number") ? (shape.items as readonly number[]) : [];
  const count = shape instanceof PickleTuple && sizes.length === shape.items.length && sizes.length <= 32 ? elementCount(sizes) : undefined;
  const code = type instanceof PickleObject && type.type.path === "numpy.dtype" ? type.args[0] : undefined;
  const dtype = typeof code === "string" ? NUMPY_DTYPES[code] : undefined;
  if (!dtype) {
    throw new FormatError(
      file,
      `is a NumPy array of type ${typeof code === "string" ? quote(code) : describe(type)}; floats (f2, f4, f8) are expected`,
    );
  }
  if (count === undefined || !(data instanceof Uint8Array) || data.length !== count * DTYPE_BYTES[dtype]) {
    throw new FormatError(
      file,
      `is a NumPy array of shape [${sizes.join(", ")}] and type ${dtype} with ` +
        `${data instanceof Uint8Array ? `${data.length} bytes` : describe(data)} of data`,
    );
  }
  if (columnMajor && sizes.filter((d) => d > 1).length > 1) {
    throw new FormatError(file, "is a NumPy array in column-major order; save it with numpy.ascontiguousarray");
  }
  const owned = new Uint8Array(data);
  const order = type instanceof PickleObject && type.state instanceof PickleTuple ? type.state.items[1] : "<";
  if (order === ">") swapBytes(owned, DTYPE_BYTES[dtype]);
  return { data: toFloat32(dtype, owned)!, shape: sizes };
}

function arrayParts(
  value: PickleObject,
): { shape: PickleValue | undefined; type: PickleValue | undefined; columnMajor: boolean; data: PickleValue | undefined } | undefined {
  if (/^numpy\._?core\.multiarray\._reconstruct$/.test(value.type.path) && value.state instanceof PickleTuple) {
    const [, shape, type, columnMajor, data] = value.state.items; // the first is the state's version
    return { shape, type, columnMajor: columnMajor === true, data };
  }
  if (/^numpy\._?core\.numeric\._frombuffer$/.test(value.type.path)) {
    const [data, type, shape, order] = value.args;
    return { shape, type, columnMajor: order === "F", data };
  }
  return undefined;
}
