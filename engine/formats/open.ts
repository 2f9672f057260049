/** Opens a file of tensors, whatever its format. */
import type { ByteSource } from "./byte-source.ts";
import { FormatError } from "./errors.ts";
import type { FileSystem } from "./file-system.ts";
import { openSafetensors } from "./safetensors.ts";
import { openSharded } from "./sharded.ts";
import { describeBytes, sniff, SNIFF_BYTES } from "./sniff.ts";
import type { TensorFile } from "./tensor-file.ts";

/**
 * By content, not by name: published checkpoints carry every extension.
 * @throws FormatError that says what the file looks like if it is none.
 */
export async function openTensorFile(source: ByteSource): Promise<TensorFile> {
  const head = await source.read(0, Math.min(SNIFF_BYTES, source.size));
  switch (sniff(head)) {
    case "safetensors": return openSafetensors(source);
    case "zip": case "torch-legacy": return (await import("./pickle/pytorch.ts")).openPyTorch(source);
    default: throw new FormatError(source.name, `is neither a safetensors file nor a PyTorch checkpoint: ${describeBytes(head)}`);
  }
}

/** The file at a path; an index (`NAME.index.json`) opens all its shards as one. The file is closed again if it cannot be used. */
export async function openTensorPath(files: FileSystem, path: string): Promise<TensorFile> {
  if (/\.index(\.\w+)?\.json$/.test(path)) return openSharded(files, path, (shard) => openOne(files, shard));
  return openOne(files, path);
}

async function openOne(files: FileSystem, path: string): Promise<TensorFile> {
  const source = await files.open(path);
  try {
    return await openTensorFile(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}
