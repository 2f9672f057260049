/**
 * The format torch.save wrote before PyTorch 1.6 (and with `_use_new_zipfile_serialization=False`): five pickles in a row (magic
 * number, protocol, system, the object, the list of storage keys), then each storage as an int64 element count and its bytes.
 * Source: torch/serialization.py `_legacy_save`, `_legacy_load`.
 */
import { checkRange, type ByteSource } from "../byte-source.ts";
import { DTYPE_BYTES } from "../dtype.ts";
import { FormatError, quote } from "../errors.ts";
import { PickleTruncated } from "./reader.ts";
import { MAX_PICKLE_BYTES, unpickle } from "./pickle.ts";
import { describe, PickleDict, PickleExternal, PickleList, PickleTuple, type PickleValue } from "./values.ts";
import { LEGACY_MAGIC } from "../sniff.ts";
import { type StorageLocator, torchHost, TorchStorage } from "./torch-values.ts";

const LEGACY_PROTOCOL = 1001;

/** @throws FormatError if the file is not such a checkpoint, is damaged, or its pickle is refused. */
export async function readLegacyCheckpoint(source: ByteSource): Promise<StorageLocator> {
  const file = source.name;
  const magic = await source.read(0, Math.min(LEGACY_MAGIC.length, source.size));
  if (magic.length !== LEGACY_MAGIC.length || LEGACY_MAGIC.some((byte, i) => magic[i] !== byte)) {
    throw new FormatError(file, "is neither a zip archive nor begins with PyTorch's magic number, so no PyTorch checkpoint");
  }
  const storages = new Map<string, TorchStorage>();
  const host = torchHost(file);
  const collecting = { ...host, persistent: (id: PickleValue) => collect(file, storages, host.persistent(id)) };
  let at = LEGACY_MAGIC.length;
  const next = async (): Promise<PickleValue> => {
    const { value, end } = await readPickle(source, at, (bytes) => unpickle(file, bytes, collecting));
    at += end;
    return value;
  };
  const protocol = await next();
  if (protocol !== LEGACY_PROTOCOL) {
    throw new FormatError(
      file,
      `is of PyTorch's old format, version ${quote(typeof protocol === "number" ? String(protocol) : describe(protocol))}; only ` +
        `${LEGACY_PROTOCOL} is known`,
    );
  }
  const system = await next();
  const bigEndian = system instanceof PickleDict && system.items.get("little_endian") === false;
  const root = await next();
  const keys = await next();
  const offsets = await locateStorages(source, at, bigEndian, keys, storages);
  const offsetOf = (storage: TorchStorage): number => {
    const offset = offsets.get(storage.key);
    if (offset === undefined) throw new FormatError(file, `storage ${quote(storage.key)} is missing`);
    return offset;
  };
  return { root, bigEndian, offsetOf: async (storage) => offsetOf(storage), check: offsetOf };
}

/** One storage has one key, type and size wherever it is mentioned. */
function collect(file: string, storages: Map<string, TorchStorage>, value: PickleValue): PickleExternal {
  const storage = value as TorchStorage;
  const first = storages.get(storage.key);
  if (first && (first.byteLength !== storage.byteLength || first.dtype !== storage.dtype)) {
    throw new FormatError(file, `storage ${quote(storage.key)} is described in two ways`);
  }
  if (!first) storages.set(storage.key, storage);
  return first ?? storage;
}

async function locateStorages(
  source: ByteSource,
  start: number,
  bigEndian: boolean,
  keys: PickleValue,
  storages: ReadonlyMap<string, TorchStorage>,
): Promise<Map<string, number>> {
  const file = source.name;
  const list = keys instanceof PickleList || keys instanceof PickleTuple ? keys.items : undefined;
  if (!list) throw new FormatError(file, `should list its storages, but has ${describe(keys)} there`);
  const offsets = new Map<string, number>();
  let at = start;
  for (const key of list) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (!storage || offsets.has(storage.key)) {
      throw new FormatError(
        file,
        `lists a storage that no tensor uses, or lists it twice (${typeof key === "string" ? quote(key) : describe(key)})`,
      );
    }
    checkRange(source, at, 8 + storage.byteLength);
    const count = new DataView((await source.read(at, 8)).buffer).getBigInt64(0, !bigEndian);
    const expected = storage.byteLength / (storage.dtype ? DTYPE_BYTES[storage.dtype] : 1);
    if (count !== BigInt(expected)) {
      throw new FormatError(file, `storage ${quote(storage.key)} should have ${expected} elements, but has ${count}`);
    }
    offsets.set(storage.key, at + 8);
    at += 8 + storage.byteLength;
  }
  return offsets;
}

/** Reads a pickle of unknown length: a little at first, four times as much while it proves longer. */
async function readPickle<T>(source: ByteSource, at: number, parse: (bytes: Uint8Array) => T): Promise<T> {
  const left = source.size - at;
  for (let length = Math.min(2 ** 16, left); ; length = Math.min(length * 4, left)) {
    const bytes = await source.read(at, length);
    try {
      return parse(bytes);
    } catch (error) {
      if (!(error instanceof PickleTruncated) || length === left) throw error;
      if (length >= MAX_PICKLE_BYTES) {
        throw new FormatError(source.name, `its pickle is larger than the ${MAX_PICKLE_BYTES} bytes allowed`, { cause: error });
      }
    }
  }
}
