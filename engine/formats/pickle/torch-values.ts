/** Tensors and storages as a PyTorch pickle describes them, and the host that rebuilds them: torch._utils, torch.serialization. */
import { DTYPE_BYTES, elementCount, type FileDType } from "../dtype.ts";
import { FormatError, quote } from "../errors.ts";
import { checkCall, checkGlobal } from "./policy.ts";
import type { PickleHost } from "./pickle.ts";
import { describe, PickleDict, PickleExternal, PickleGlobal, PickleList, PickleObject, PickleTuple, type PickleValue } from "./values.ts";

/** A storage's bytes lie outside the pickle, under `key`. */
export class TorchStorage extends PickleExternal {
  readonly kind = "a storage";

  /** @param dtype undefined for an untyped storage, counted in bytes */
  constructor(readonly key: string, readonly dtype: FileDType | undefined, readonly byteLength: number) {
    super();
  }
}

/** Where storages lie, once the container's own structure is known. */
export interface StorageLocator {
  readonly root: PickleValue;
  readonly bigEndian: boolean;
  /** First byte of the storage in the file. @throws FormatError if it is missing or of another size. */
  offsetOf(storage: TorchStorage): Promise<number>;
  /** Checks that the storage is there and large enough, without reading it. */
  check(storage: TorchStorage): void;
}

/** A strided view into a storage; offset and strides count elements. Checked to lie inside the storage. */
export class TorchTensor extends PickleExternal {
  readonly kind = "a tensor";

  constructor(
    readonly storage: TorchStorage,
    readonly dtype: FileDType,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {
    super();
  }
}

const STORAGE_DTYPES: ReadonlyMap<string, FileDType | undefined> = new Map<string, FileDType | undefined>([
  ["DoubleStorage", "F64"],
  ["FloatStorage", "F32"],
  ["HalfStorage", "F16"],
  ["BFloat16Storage", "BF16"],
  ["LongStorage", "I64"],
  ["IntStorage", "I32"],
  ["ShortStorage", "I16"],
  ["CharStorage", "I8"],
  ["ByteStorage", "U8"],
  ["BoolStorage", "BOOL"],
  ["UntypedStorage", undefined],
]);

const TORCH_DTYPES: ReadonlyMap<string, FileDType> = new Map<string, FileDType>([
  ["float64", "F64"],
  ["float32", "F32"],
  ["float16", "F16"],
  ["bfloat16", "BF16"],
  ["float8_e4m3fn", "F8_E4M3"],
  ["float8_e5m2", "F8_E5M2"],
  ["int64", "I64"],
  ["int32", "I32"],
  ["int16", "I16"],
  ["int8", "I8"],
  ["uint64", "U64"],
  ["uint32", "U32"],
  ["uint16", "U16"],
  ["uint8", "U8"],
  ["bool", "BOOL"],
]);

/**
 * Elements that a tensor may have beyond its storage's (an expanded one repeats them by a stride of 0), so that a small file cannot fill
 * the memory.
 */
const MAX_EXPANDED = 2 ** 24;
const MAX_DIMENSIONS = 64;
/** Bounds what calls may copy, all of them together. */
const MAX_COPIED = 1_000_000;

/** The host for a checkpoint's pickle: rebuilds tensors and OrderedDicts, keeps harmless classes inert, refuses the rest. */
export function torchHost(file: string): PickleHost {
  let copied = 0;
  const charge = (amount: number): void => {
    copied += amount;
    if (copied > MAX_COPIED) {
      throw new FormatError(file, `its pickle copies more than ${MAX_COPIED} values; it is not a checkpoint that PyTorch wrote`);
    }
  };
  const call = (callable: PickleGlobal, args: readonly PickleValue[]): PickleValue => {
    switch (callable.path) {
      case "torch._utils._rebuild_tensor":
      case "torch._utils._rebuild_tensor_v2": return rebuildTensor(file, args);
      case "torch._utils._rebuild_tensor_v3": return rebuildTensor(file, args, args[6]);
      case "torch._utils._rebuild_parameter":
      case "torch._utils._rebuild_parameter_with_state": return args[0] ?? null;
      case "torch._tensor._rebuild_from_type_v2": {
        const [inner, , innerArgs] = args;
        if (!(inner instanceof PickleGlobal) || !(innerArgs instanceof PickleTuple) || inner.path === callable.path) {
          throw new FormatError(file, "a tensor subclass is rebuilt in an unknown way");
        }
        return call(inner, innerArgs.items);
      }
      case "torch.Size": return args[0] instanceof PickleTuple ? args[0] : new PickleObject(callable, args);
      case "collections.OrderedDict": return orderedDict(file, args, charge);
      case "_codecs.encode": return encodeLatin1(callable, args, charge);
      default:
        checkCall(file, callable);
        return new PickleObject(callable, args);
    }
  };
  return {
    call,
    global: (module, name) => checkGlobal(file, module, name),
    create: (type, args) =>
      type.path === "collections.OrderedDict" && args.length === 0 ? new PickleDict() : new PickleObject(type, args),
    persistent: (id) => storageOf(file, id),
  };
}

/** torch.serialization's persistent id: ("storage", type, key, location, element count[, view of the legacy format]). */
function storageOf(file: string, id: PickleValue): TorchStorage {
  const [tag, type, key, , count, legacyView] = id instanceof PickleTuple ? id.items : [];
  if (tag !== "storage" || !(type instanceof PickleGlobal) || typeof key !== "string" || !isSize(count)) {
    throw new FormatError(file, `refers to something outside its pickle that is not a tensor storage (${describe(id)})`);
  }
  if (legacyView !== undefined && legacyView !== null) {
    throw new FormatError(file, "holds storage views, as PyTorch before 0.4 wrote them; save it again with a newer PyTorch");
  }
  const known =
    STORAGE_DTYPES.has(type.name) && (type.module === "torch" || type.module === "torch.storage" || type.module === "torch.cuda");
  if (!known) {
    throw new FormatError(
      file,
      `storage ${quote(key)} is of type ${quote(type.path)}, which is not supported; known are ${[...STORAGE_DTYPES.keys()].join(", ")}`,
    );
  }
  const dtype = STORAGE_DTYPES.get(type.name);
  const byteLength = count * (dtype ? DTYPE_BYTES[dtype] : 1);
  if (!Number.isSafeInteger(byteLength)) throw new FormatError(file, `storage ${quote(key)} claims ${count} elements`);
  return new TorchStorage(key, dtype, byteLength);
}

/** (storage, offset, size, stride, ...): torch._utils._rebuild_tensor_v2. Version 3 names the dtype and has an untyped storage. */
function rebuildTensor(file: string, args: readonly PickleValue[], dtypeName?: PickleValue): TorchTensor {
  const [storage, offset, size, stride] = args;
  if (!(storage instanceof TorchStorage)) throw new FormatError(file, `a tensor is rebuilt from ${describe(storage)} instead of a storage`);
  const dtype = dtypeName instanceof PickleGlobal && dtypeName.module === "torch" ? TORCH_DTYPES.get(dtypeName.name) : storage.dtype;
  if (!dtype) {
    throw new FormatError(file, `a tensor in storage ${quote(storage.key)} has an unsupported element type (${describe(dtypeName)})`);
  }
  const shape = sizes(size);
  const strides = sizes(stride);
  const count = shape && elementCount(shape);
  const where = `a tensor in storage ${quote(storage.key)}`;
  if (!shape || !strides || count === undefined || !isSize(offset) || shape.length !== strides.length || shape.length > MAX_DIMENSIONS) {
    throw new FormatError(file, `${where} has a malformed shape, stride or offset`);
  }
  const last = count === 0 ? offset - 1 : shape.reduce((sum, dimension, i) => sum + (dimension - 1) * strides[i]!, offset);
  const available = Math.floor(storage.byteLength / DTYPE_BYTES[dtype]);
  if (!(last < available)) {
    throw new FormatError(
      file,
      `${where} of shape [${shape.join(", ")}] and strides [${strides.join(", ")}] from element ${offset} reaches element ${last}, but ` +
        `the storage has ${available}`,
    );
  }
  if (count > Math.max(available, MAX_EXPANDED)) {
    throw new FormatError(
      file,
      `${where} of shape [${shape.join(", ")}] repeats ${available} stored elements ${count} times over; save it with .contiguous()`,
    );
  }
  return new TorchTensor(storage, dtype, offset, shape, strides);
}

function sizes(value: PickleValue | undefined): number[] | undefined {
  const items = value instanceof PickleTuple || value instanceof PickleList ? value.items : undefined;
  return items && items.length <= MAX_DIMENSIONS && items.every(isSize) ? [...items] : undefined;
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** `OrderedDict()` or, from Python 2, `OrderedDict([[key, value], ...])`. */
function orderedDict(file: string, args: readonly PickleValue[], charge: (amount: number) => void): PickleDict {
  const dict = new PickleDict();
  const [pairs] = args;
  if (pairs instanceof PickleList || pairs instanceof PickleTuple) {
    charge(pairs.items.length);
    for (const pair of pairs.items) {
      const entry = pair instanceof PickleList || pair instanceof PickleTuple ? pair.items : [];
      if (entry.length !== 2) throw new FormatError(file, "an OrderedDict is made from something that is not a list of pairs");
      dict.items.set(entry[0]!, entry[1]!);
    }
  }
  return dict;
}

/** Protocol 2 writes bytes as `_codecs.encode(text, "latin1")`. */
function encodeLatin1(callable: PickleGlobal, args: readonly PickleValue[], charge: (amount: number) => void): PickleValue {
  const [text, encoding] = args;
  if (typeof text !== "string" || encoding !== "latin1") return new PickleObject(callable, args);
  charge(text.length);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
