/** A file of named tensors, whatever its format: the one view through which checkpoints are read. */
import { elementCount, toFloat32, toFloat64, type FileDType } from "./dtype.ts";
import { FormatError, quote } from "./errors.ts";
import { float32ToFloat16 } from "./half.ts";

export interface TensorEntry {
  readonly name: string;
  readonly dtype: FileDType;
  /** Dimensions, slowest first; [] is a scalar. */
  readonly shape: readonly number[];
  /** Bytes of the dense tensor. */
  readonly byteLength: number;
  /** The file's own name for it, where `name` is another. */
  readonly stored?: string;
  /** Of a file with several state dicts: how many characters at the name's beginning are the way to this tensor's. */
  readonly prefix?: number;
  /**
   * Of a tensor that is not a weight by its place in the file: one of an averaged (EMA) copy of the weights, or something that training
   * keeps beside them.
   */
  readonly role?: "averaged" | "beside";
}

/** Every read gives a dense row-major array that the caller owns, and throws FormatError for an unknown name or unreadable bytes. */
export interface TensorFile {
  readonly name: string;
  /** What the file says about itself besides tensors (safetensors' `__metadata__`, a checkpoint's epoch). */
  readonly metadata: Readonly<Record<string, string>>;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** Little-endian bytes in the entry's own element type. */
  readBytes(name: string): Promise<Uint8Array<ArrayBuffer>>;
  /** Any type but 8-bit floats, as float32; wider types are rounded to nearest. */
  readFloat32(name: string): Promise<Float32Array<ArrayBuffer>>;
  /** Any type but 8-bit floats, as float64; 64-bit integers above 2^53 are rounded. */
  readFloat64(name: string): Promise<Float64Array<ArrayBuffer>>;
  /** Binary16 bit patterns, for weights stored as float16: F16 as it is, everything else by way of float32. */
  readFloat16(name: string): Promise<Uint16Array<ArrayBuffer>>;
  /** Integers and booleans as int32. @throws FormatError for a floating-point tensor, or a value outside int32. */
  readInts(name: string): Promise<Int32Array<ArrayBuffer>>;
  /** Closes the file below. */
  close(): Promise<void>;
}

/** What a format has to supply; the conversions are the same for all. */
export interface TensorFileParts {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readBytes(entry: TensorEntry): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** Completes a format's parts into a TensorFile. */
export function tensorFile(parts: TensorFileParts): TensorFile {
  const { name: file, metadata, entries } = parts;
  const readBytes = async (name: string): Promise<Uint8Array<ArrayBuffer>> => parts.readBytes(requireEntry(file, entries, name));
  const unsupported = (name: string): FormatError =>
    new FormatError(file, `tensor ${quote(name)} is of type ${entries.get(name)?.dtype}, which is not supported; convert it to F16 or F32`);
  const converted = async <T>(name: string, convert: (dtype: FileDType, bytes: Uint8Array<ArrayBuffer>) => T | undefined): Promise<T> => {
    const values = convert(requireEntry(file, entries, name).dtype, await readBytes(name));
    if (!values) throw unsupported(name);
    return values;
  };
  const readFloat32 = (name: string): Promise<Float32Array<ArrayBuffer>> => converted(name, toFloat32);
  const readFloat64 = (name: string): Promise<Float64Array<ArrayBuffer>> => converted(name, toFloat64);
  return {
    name: file, metadata, entries, readBytes, readFloat32, readFloat64,
    async readFloat16(name) {
      if (requireEntry(file, entries, name).dtype !== "F16") return float32ToFloat16(await readFloat32(name));
      const bytes = await readBytes(name);
      return bytes.byteOffset % 2
        ? new Uint16Array(new Uint8Array(bytes).buffer)
        : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    },
    async readInts(name) {
      const { dtype } = requireEntry(file, entries, name);
      if (dtype.includes("F")) throw new FormatError(file, `tensor ${quote(name)} is of type ${dtype}; integers are expected`);
      const values = await readFloat64(name);
      const bad = values.find((value) => value !== (value | 0));
      if (bad !== undefined) throw new FormatError(file, `tensor ${quote(name)} holds ${bad}, which is outside int32`);
      return Int32Array.from(values);
    },
    close: () => parts.close(),
  };
}

/** @throws FormatError naming the tensor and the nearest few of the names there are. */
export function requireEntry(file: string, entries: ReadonlyMap<string, TensorEntry>, name: string): TensorEntry {
  const entry = entries.get(name);
  if (entry) return entry;
  const last = name.split(".").slice(-2).join(".");
  const similar = [...entries.keys()].filter((key) => key.endsWith(last));
  const shown = (similar.length > 0 ? similar : [...entries.keys()]).slice(0, 3).map(quote).join(", ");
  throw new FormatError(file, `has no tensor ${quote(name)}; it has ${entries.size}${shown ? `, among them ${shown}` : ""}`);
}

/** Elements of an entry. Readers only make entries whose count is exact. */
export function entrySize(entry: TensorEntry): number {
  return elementCount(entry.shape) ?? 0;
}
