/** Writes PyTorch checkpoints (zip format) as torch.save does, piece by piece, so that one may be larger than memory. */
import { crc32 } from "node:zlib";

export interface TorchTensor {
  readonly dtype: "F32" | "F16" | "I64";
  readonly shape: readonly number[];
  readonly read: () => Uint8Array;
}

export type TorchTree = { readonly [key: string]: TorchTensor | TorchTree | number | string };

const STORAGES = { F32: ["FloatStorage", 4], F16: ["HalfStorage", 2], I64: ["LongStorage", 8] } as const;

function isTensor(value: TorchTree[string]): value is TorchTensor {
  return typeof value === "object" && "read" in value && typeof value.read === "function";
}

const int = (value: number): Buffer => {
  const bytes = Buffer.alloc(5);
  bytes[0] = 0x4a; // BININT
  bytes.writeInt32LE(value, 1);
  return bytes;
};
const text = (value: string): Buffer => {
  const utf8 = Buffer.from(value);
  const head = Buffer.alloc(5);
  head[0] = 0x58; // BINUNICODE
  head.writeUInt32LE(utf8.length, 1);
  return Buffer.concat([head, utf8]);
};
const tuple = (...items: Buffer[]): Buffer => Buffer.concat([Buffer.from("("), ...items, Buffer.from("t")]);

/** The pickle, and the tensors in the order of their storages. */
function pickleOf(tree: TorchTree): { pickle: Buffer; tensors: TorchTensor[] } {
  const tensors: TorchTensor[] = [];
  const tensor = (t: TorchTensor): Buffer => {
    const [storage] = STORAGES[t.dtype];
    const count = t.shape.reduce((a, b) => a * b, 1);
    const id = tuple(text("storage"), Buffer.from(`ctorch\n${storage}\n`), text(String(tensors.push(t) - 1)), text("cpu"), int(count));
    const strides = t.shape.map((_, i) => t.shape.slice(i + 1).reduce((a, b) => a * b, 1));
    const args = tuple(
      Buffer.concat([id, Buffer.from("Q")]),
      int(0),
      tuple(...t.shape.map(int)),
      tuple(...strides.map(int)),
      Buffer.from([0x89]),
      Buffer.from("ccollections\nOrderedDict\n)R"),
    );
    return Buffer.concat([Buffer.from("ctorch._utils\n_rebuild_tensor_v2\n"), args, Buffer.from("R")]);
  };
  const value = (v: TorchTree[string]): Buffer => {
    if (typeof v === "number") return int(v);
    if (typeof v === "string") return text(v);
    return isTensor(v) ? tensor(v) : dict(v);
  };
  const dict = (t: TorchTree): Buffer =>
    Buffer.concat([Buffer.from("}("), ...Object.entries(t).flatMap(([key, v]) => [text(key), value(v)]), Buffer.from("u")]);
  return { pickle: Buffer.concat([Buffer.from([0x80, 2]), dict(tree), Buffer.from(".")]), tensors };
}

/** The file's bytes in order; a tensor's are asked for when its turn comes. At most 4 GiB in all. */
export function* torchFileChunks(tree: TorchTree): Generator<Uint8Array> {
  const { pickle, tensors } = pickleOf(tree);
  const directory: Buffer[] = [];
  let offset = 0;
  function* entry(name: string, data: Uint8Array): Generator<Uint8Array> {
    const fields = Buffer.alloc(26);
    fields.writeUInt32LE(crc32(data), 10);
    fields.writeUInt32LE(data.length, 14);
    fields.writeUInt32LE(data.length, 18);
    fields.writeUInt16LE(name.length, 22);
    const pad = (64 - ((offset + 30 + name.length) % 64)) % 64; // as torch aligns its storages, by an extra field
    fields.writeUInt16LE(pad, 24);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), fields, Buffer.from(name), Buffer.alloc(pad)]);
    const central = Buffer.alloc(46);
    central.write("PK\x01\x02", 0);
    fields.copy(central, 6, 0, 24);
    central.writeUInt32LE(offset, 42);
    directory.push(Buffer.concat([central, Buffer.from(name)]));
    offset += local.length + data.length;
    yield local;
    yield data;
  }
  yield* entry("archive/data.pkl", pickle);
  for (const [key, t] of tensors.entries()) yield* entry(`archive/data/${key}`, t.read());
  yield* entry("archive/version", Buffer.from("3\n"));
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0);
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  yield central;
  yield end;
}

export function torchFile(tree: TorchTree): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat([...torchFileChunks(tree)]));
}
