/**
 * Writer of PyTorch checkpoints as `torch.save` makes them since 1.6: a zip of `data.pkl` (pickle protocol 2) and one stored entry for each
 * tensor storage, piece by piece, so that one may be larger than memory. `torch.load(..., weights_only=True)` takes them.
 * Source: torch/serialization.py (`_save`), torch/_utils.py (`_rebuild_tensor_v2`), Python's pickletools.
 */
import { DTYPE_BYTES, elementCount, type FileDType } from "../dtype.ts";
import { FormatError, quote } from "../errors.ts";
import type { TensorOnDemand } from "../safetensors-writer.ts";
import { zipPieces } from "../zip/writer.ts";

/**
 * What a checkpoint holds: a Map becomes an OrderedDict, as a state dict is, an object a dict. A tensor that stands in two places is one
 * storage.
 */
export type TorchTree = TensorOnDemand | TorchDict | ReadonlyMap<string, TorchTree> | number | string;

export interface TorchDict {
  readonly [key: string]: TorchTree;
}

const STORAGES: Partial<Record<FileDType, string>> = {
  F64: "DoubleStorage",
  F32: "FloatStorage",
  F16: "HalfStorage",
  BF16: "BFloat16Storage",
  I64: "LongStorage",
  I32: "IntStorage",
  I16: "ShortStorage",
  I8: "CharStorage",
  U8: "ByteStorage",
  BOOL: "BoolStorage",
};

/**
 * The file's bytes in order. They depend on what is written only: the archive's folder is called "archive", as torch calls it when it does
 * not know the file's name.
 * @param name of the file, for errors
 * @throws FormatError for a type that torch has no storage of, or a tensor whose bytes do not fit its shape
 */
export async function* torchPieces(
  name: string,
  tree: TorchDict | ReadonlyMap<string, TorchTree>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { pickle, storages } = pickleOf(name, tree);
  const text = (content: string) => (): Uint8Array<ArrayBuffer> => new TextEncoder().encode(content);
  yield* zipPieces([
    { name: "archive/data.pkl", read: () => pickle },
    { name: "archive/byteorder", read: text("little") },
    ...storages.map((tensor, key) => ({ name: `archive/data/${key}`, read: () => bytesOf(name, tensor) })),
    { name: "archive/version", read: text("3\n") },
  ]);
}

async function bytesOf(name: string, { dtype, shape, read }: TensorOnDemand): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await read();
  const expected = (elementCount(shape) ?? NaN) * DTYPE_BYTES[dtype];
  if (bytes.length !== expected) {
    throw new FormatError(name, `a tensor of shape [${shape.join(", ")}] and dtype ${dtype} takes ${expected} bytes, not ${bytes.length}`);
  }
  return bytes;
}

/** The pickle, and the tensors in the order of their storages. */
function pickleOf(name: string, tree: TorchTree): { readonly pickle: Uint8Array<ArrayBuffer>; readonly storages: TensorOnDemand[] } {
  const storages = new Map<TensorOnDemand, number>();
  const out: number[] = [0x80, 2];
  const raw = (text: string): void => void out.push(...new TextEncoder().encode(text));
  const integer = (value: number): void => {
    out.push(0x4a); // BININT
    for (let shift = 0; shift < 32; shift += 8) out.push((value >> shift) & 255);
  };
  const text = (value: string): void => {
    const bytes = new TextEncoder().encode(value);
    out.push(0x58); // BINUNICODE
    for (let shift = 0; shift < 32; shift += 8) out.push((bytes.length >> shift) & 255);
    out.push(...bytes);
  };
  const tuple = (items: () => void): void => {
    raw("(");
    items();
    raw("t");
  };
  const tensor = (value: TensorOnDemand): void => {
    const { dtype, shape } = value;
    const storage = STORAGES[dtype];
    if (storage === undefined) throw new FormatError(name, `torch has no tensors of dtype ${dtype}`);
    const key = storages.get(value) ?? storages.size;
    storages.set(value, key);
    const count = elementCount(shape) ?? 0;
    raw("ctorch._utils\n_rebuild_tensor_v2\n");
    tuple(() => {
      tuple(() => {
        text("storage");
        raw(`ctorch\n${storage}\n`);
        text(String(key));
        text("cpu");
        integer(count);
      });
      raw("Q"); // BINPERSID
      integer(0);
      tuple(() => shape.forEach(integer));
      tuple(() => shape.forEach((_, i) => integer(elementCount(shape.slice(i + 1))!)));
      out.push(0x89); // NEWFALSE: it needs no gradient
      raw("ccollections\nOrderedDict\n)R");
    });
    raw("R");
  };
  const entries = (list: Iterable<readonly [string, TorchTree]>): void => {
    raw("(");
    for (const [key, value] of list) {
      text(key);
      write(value);
    }
    raw("u");
  };
  const write = (value: TorchTree): void => {
    if (typeof value === "string") text(value);
    else if (typeof value === "number") {
      if (value !== (value | 0)) throw new FormatError(name, `${quote(String(value))} is not a whole number of 32 bits`);
      integer(value);
    } else if (isTensor(value)) tensor(value);
    else if (value instanceof Map) {
      raw("ccollections\nOrderedDict\n)R");
      entries(value as ReadonlyMap<string, TorchTree>);
    } else {
      raw("}");
      entries(Object.entries(value as TorchDict));
    }
  };
  write(tree);
  raw(".");
  return { pickle: Uint8Array.from(out), storages: [...storages.keys()] };
}

function isTensor(value: object): value is TensorOnDemand {
  return "read" in value && typeof value.read === "function";
}
