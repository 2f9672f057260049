/**
 * Reader of safetensors files: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.
 * Everything the header claims is checked against the file before a tensor is read, by the rules of the official reader
 * (github.com/huggingface/safetensors, safetensors/src/tensor.rs): header of at most 100 MB, ranges dense and in order with
 * neither gap nor overlap, covering the file to its last byte.
 */
import type { ByteSource } from "./byte-source.ts";
import { DTYPE_BYTES, elementCount, isFileDType } from "./dtype.ts";
import { FormatError, quote } from "./errors.ts";
import { asObject, decodeText, isObject, parseJson } from "./file-system.ts";
import { duplicateKey } from "./text/json-keys.ts";
import { tensorFile, type TensorEntry, type TensorFile } from "./tensor-file.ts";

/** The official reader's bound. */
const MAX_HEADER_BYTES = 100_000_000;

interface Located {
  readonly entry: TensorEntry;
  /** First byte, counted from the end of the header. */
  readonly begin: number;
}

/** Reads and checks the header; tensors are read on demand. @throws FormatError for anything the format does not allow. */
export async function openSafetensors(source: ByteSource): Promise<TensorFile> {
  const file = source.name;
  if (source.size < 8) {
    throw new FormatError(file, `is not a safetensors file: it has ${source.size} bytes, and the header's length alone takes 8`);
  }
  const prefix = await source.read(0, 8);
  const claimed = new DataView(prefix.buffer).getBigUint64(0, true);
  if (claimed > BigInt(source.size - 8)) {
    throw new FormatError(
      file,
      `safetensors header claims ${claimed} bytes, but ${source.size - 8} follow; the file is truncated or corrupt`,
    );
  }
  if (claimed > MAX_HEADER_BYTES) {
    throw new FormatError(file, `safetensors header claims ${claimed} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
  }
  const headerBytes = Number(claimed);
  const text = decodeText(file, await source.read(8, headerBytes));
  if (!text.startsWith("{")) throw new FormatError(file, `safetensors header should begin with "{", not ${quote(text.slice(0, 1))}`);
  const header = asObject(file, parseJson(file, text));
  const twice = duplicateKey(text);
  if (twice !== undefined) throw new FormatError(file, `safetensors header names ${quote(twice)} twice`);

  const { located, metadata } = readHeader(file, header, source.size - 8 - headerBytes);
  return tensorFile({
    name: file, metadata,
    entries: new Map([...located].map(([name, { entry }]) => [name, entry])),
    readBytes: (entry) => source.read(8 + headerBytes + located.get(entry.name)!.begin, entry.byteLength),
    close: () => source.close(),
  });
}

function readHeader(
  file: string,
  header: Readonly<Record<string, unknown>>,
  dataBytes: number,
): { located: Map<string, Located>; metadata: Record<string, string> } {
  const located: Located[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = readMetadata(file, value);
    else located.push(readEntry(file, name, value));
  }
  // By begin, then by size, so that an empty tensor comes before the one it shares its offset with.
  const ordered = located.toSorted((a, b) => a.begin - b.begin || a.entry.byteLength - b.entry.byteLength);
  let end = 0;
  let previous = "the header";
  for (const { entry, begin } of ordered) {
    if (begin !== end) {
      throw new FormatError(
        file,
        `tensor ${quote(entry.name)} starts at byte ${begin} of the data, but ${previous === "the header" ? previous : quote(previous)} ` +
          `ends at ${end}: ${begin < end ? "ranges overlap" : "there is a gap"}`,
      );
    }
    end += entry.byteLength;
    previous = entry.name;
  }
  if (end !== dataBytes) {
    throw new FormatError(
      file,
      `tensors take ${end} bytes, but the file has ${dataBytes} after its header; it is ${end > dataBytes ? "truncated" : "corrupt"}`,
    );
  }
  return { located: new Map(located.map((one) => [one.entry.name, one])), metadata };
}

function readMetadata(file: string, value: unknown): Record<string, string> {
  if (!isObject(value)) throw new FormatError(file, "safetensors __metadata__ should be an object of strings");
  return Object.fromEntries(
    Object.entries(value).map(([key, text]) => {
      if (typeof text !== "string") {
        throw new FormatError(file, `safetensors __metadata__ ${quote(key)} should be a string, not a ${typeof text}`);
      }
      return [key, text];
    }),
  );
}

function readEntry(file: string, name: string, value: unknown): Located {
  const where = `tensor ${quote(name)}`;
  if (!isObject(value)) throw new FormatError(file, `${where} should be described by an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isFileDType(dtype)) {
    throw new FormatError(
      file,
      `${where} has unknown dtype ${quote(JSON.stringify(dtype) ?? "none")}; known are ${Object.keys(DTYPE_BYTES).join(", ")}`,
    );
  }
  if (!isSizes(shape)) throw new FormatError(file, `${where} has no proper shape: ${quote(JSON.stringify(shape) ?? "none")}`);
  const count = elementCount(shape);
  const byteLength = (count ?? NaN) * DTYPE_BYTES[dtype];
  if (!Number.isSafeInteger(byteLength)) {
    throw new FormatError(file, `${where} of shape ${quote(JSON.stringify(shape))} has more elements than can be counted`);
  }
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[1]! < offsets[0]!) {
    throw new FormatError(file, `${where} has no proper data_offsets: ${quote(JSON.stringify(offsets) ?? "none")}`);
  }
  const [begin, end] = offsets as readonly [number, number];
  if (end - begin !== byteLength) {
    throw new FormatError(
      file,
      `${where} of shape ${quote(JSON.stringify(shape))} and dtype ${dtype} takes ${byteLength} bytes, but its data_offsets span ` +
        `${end - begin}`,
    );
  }
  return { entry: { name, dtype, shape, byteLength }, begin };
}

function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}
