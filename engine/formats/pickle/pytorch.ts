/**
 * Reader of PyTorch checkpoints (`.pt`, `.pth`, `.bin`, `.ckpt`) without running anything in them: the zip format of PyTorch 1.6 on
 * (a zip of `data.pkl` and one stored entry per tensor storage) and the older bare format. Storages are read by ranges on demand.
 * Source: torch/serialization.py (`_save`, `_load`, `_legacy_load`), torch/_utils.py.
 */
import type { ByteSource } from "../byte-source.ts";
import { DTYPE_BYTES, elementCount, swapBytes } from "../dtype.ts";
import { FormatError, quote } from "../errors.ts";
import { flattenTensors } from "./flatten.ts";
import { MAX_PICKLE_BYTES, unpickle } from "./pickle.ts";
import { PickleObject, type PickleValue } from "./values.ts";
import { readLegacyCheckpoint } from "./pytorch-legacy.ts";
import { tensorFile, type TensorEntry, type TensorFile } from "../tensor-file.ts";
import { type StorageLocator, torchHost, type TorchStorage, TorchTensor } from "./torch-values.ts";
import { readZipDirectory, zipDataOffset, type ZipEntry } from "../zip/reader.ts";

export interface PyTorchFile extends TensorFile {
  /** Everything in the file as nested containers, for what `entries` leaves out. */
  readonly root: PickleValue;
}

/** Opens either format. `entries` are named by the rule of flattenTensors. @throws FormatError for damage or a refused pickle. */
export async function openPyTorch(source: ByteSource): Promise<PyTorchFile> {
  const start = await source.read(0, Math.min(2, source.size));
  const isZip = start[0] === 0x50 && start[1] === 0x4b;
  const locator = isZip ? await readZipCheckpoint(source) : await readLegacyCheckpoint(source);
  const { tensors, roles, prefixes, metadata } = flattenTensors(source.name, locator.root);
  if (tensors.size === 0) {
    const whole =
      locator.root instanceof PickleObject ? `holds a ${quote(locator.root.type.path)} object without tensors` : "holds no tensors";
    throw new FormatError(source.name, `${whole}; save the weights with torch.save(model.state_dict(), path) instead`);
  }
  const entries = new Map<string, TensorEntry>();
  for (const [name, tensor] of tensors) {
    locator.check(tensor.storage);
    entries.set(name, {
      name,
      dtype: tensor.dtype,
      shape: tensor.shape,
      byteLength: elementCount(tensor.shape)! * DTYPE_BYTES[tensor.dtype],
      ...(roles.has(name) && { role: roles.get(name)! }),
      ...(prefixes.has(name) && { prefix: prefixes.get(name)! }),
    });
  }
  return {
    ...tensorFile({
      name: source.name,
      metadata,
      entries,
      close: () => source.close(),
      readBytes: (entry) => readTensor(source, locator, tensors.get(entry.name)!),
    }),
    root: locator.root,
  };
}

async function readZipCheckpoint(source: ByteSource): Promise<StorageLocator> {
  const file = source.name;
  const directory = await readZipDirectory(source);
  const pickles = [...directory.keys()].filter((name) => name === "data.pkl" || /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw new FormatError(
      file,
      `is a zip archive with ${pickles.length} data.pkl entries, so no PyTorch checkpoint; it holds ` +
        `${[...directory.keys()].slice(0, 5).map(quote).join(", ") || "nothing"}`,
    );
  }
  const prefix = pickles[0]!.slice(0, -"data.pkl".length);
  if (directory.has(`${prefix}constants.pkl`)) {
    throw new FormatError(file, "is a TorchScript program, not a checkpoint; save its state_dict() with torch.save");
  }
  const entry = directory.get(pickles[0]!)!;
  if (entry.size > MAX_PICKLE_BYTES) {
    throw new FormatError(
      file,
      `its pickle of ${entry.size} bytes is larger than the ${MAX_PICKLE_BYTES} allowed; tensors belong outside of it`,
    );
  }
  const { value: root } = unpickle(file, await source.read(await zipDataOffset(source, entry), entry.size), torchHost(file));
  const find = (storage: TorchStorage): ZipEntry => {
    const found = directory.get(`${prefix}data/${storage.key}`);
    if (!found) throw new FormatError(file, `storage ${quote(storage.key)} is missing from the archive`);
    if (found.size !== storage.byteLength) {
      throw new FormatError(file, `storage ${quote(storage.key)} should have ${storage.byteLength} bytes, but has ${found.size}`);
    }
    return found;
  };
  return {
    root,
    bigEndian: await isBigEndian(source, directory.get(`${prefix}byteorder`)),
    check: find,
    offsetOf: (storage) => zipDataOffset(source, find(storage)),
  };
}

async function isBigEndian(source: ByteSource, entry: ZipEntry | undefined): Promise<boolean> {
  if (!entry) return false; // files before PyTorch 2.1 have no such entry
  const order = entry.size <= 16 ? new TextDecoder().decode(await source.read(await zipDataOffset(source, entry), entry.size)).trim() : "";
  if (order !== "little" && order !== "big") {
    throw new FormatError(source.name, `its byteorder entry should say "little" or "big", not ${quote(order)}`);
  }
  return order === "big";
}

/** The dense bytes of a tensor: one range of the storage, gathered if its strides are not row-major. */
async function readTensor(source: ByteSource, locator: StorageLocator, tensor: TorchTensor): Promise<Uint8Array<ArrayBuffer>> {
  const { shape, strides, offset, dtype } = tensor;
  const size = DTYPE_BYTES[dtype];
  const count = elementCount(shape)!;
  if (count === 0) return new Uint8Array(0);
  const base = await locator.offsetOf(tensor.storage);
  const span = shape.reduce((sum, dimension, i) => sum + (dimension - 1) * strides[i]!, 1);
  const bytes = await source.read(base + offset * size, span * size);
  if (locator.bigEndian) swapBytes(bytes, size);
  return isDense(shape, strides) ? bytes : gather(bytes, shape, strides, size, count);
}

function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 1) continue; // a stride that is never taken
    if (strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

/** Row-major copy of a strided view. Walks the innermost dimension in a plain loop and the others as an odometer. */
function gather(
  bytes: Uint8Array<ArrayBuffer>,
  shape: readonly number[],
  strides: readonly number[],
  size: number,
  count: number,
): Uint8Array<ArrayBuffer> {
  const words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[size] ?? Uint8Array;
  const from = new words(bytes.buffer, bytes.byteOffset, bytes.byteLength / size) as Uint32Array;
  const out = new words(count) as Uint32Array<ArrayBuffer>;
  const rank = shape.length;
  const index = shape.map(() => 0);
  const inner = shape[rank - 1]!;
  const step = strides[rank - 1]!;
  for (let written = 0, start = 0; written < count; ) {
    for (let i = 0; i < inner; i++) out[written++] = from[start + i * step]!;
    for (let d = rank - 2; d >= 0; d--) {
      start += strides[d]!;
      if (++index[d]! < shape[d]!) break;
      start -= shape[d]! * strides[d]!;
      index[d] = 0;
    }
  }
  return new Uint8Array(out.buffer);
}
