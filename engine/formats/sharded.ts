/** Checkpoints in several files: `NAME.safetensors.index.json` (or `NAME.bin.index.json`) says which shard holds which tensor. */
import { FormatError, quote } from "./errors.ts";
import { isObject, joinPath, readJsonObject, type FileSystem } from "./file-system.ts";
import { tensorFile, type TensorEntry, type TensorFile } from "./tensor-file.ts";

/**
 * Presents the shards as one file. Shards are opened at once (headers only) and lie in the index's own folder.
 * @param openShard opens one shard by its path.
 * @throws FormatError if the index is malformed, names a path outside its folder, or a shard lacks a tensor promised by the index.
 */
export async function openSharded(
  files: FileSystem,
  indexPath: string,
  openShard: (path: string) => Promise<TensorFile>,
): Promise<TensorFile> {
  const index = await readJsonObject(files, indexPath);
  const map = index["weight_map"];
  if (!isObject(map)) throw new FormatError(indexPath, 'is not a checkpoint index: it has no "weight_map"');
  const folder = indexPath.includes("/") ? indexPath.slice(0, indexPath.lastIndexOf("/") + 1) : "";
  const shards = new Map<string, TensorFile>();
  const close = async (): Promise<void> => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  try {
    const entries = new Map<string, TensorEntry>();
    const shardOf = new Map<string, TensorFile>();
    for (const [tensor, shardName] of Object.entries(map)) {
      if (typeof shardName !== "string" || shardName === "" || /[/\\]/.test(shardName)) {
        throw new FormatError(
          indexPath,
          `tensor ${quote(tensor)} is said to lie in ${quote(String(shardName))}, which is not a plain file name`,
        );
      }
      let shard = shards.get(shardName);
      if (!shard) shards.set(shardName, (shard = await openShard(joinPath(folder, shardName))));
      const entry = shard.entries.get(tensor);
      if (!entry) throw new FormatError(indexPath, `tensor ${quote(tensor)} should be in ${quote(shardName)}, but is not`);
      entries.set(tensor, entry);
      shardOf.set(tensor, shard);
    }
    const metadata = isObject(index["metadata"])
      ? Object.fromEntries(Object.entries(index["metadata"]).map(([key, value]) => [key, String(value)]))
      : {};
    return tensorFile({ name: indexPath, metadata, entries, close, readBytes: (entry) => shardOf.get(entry.name)!.readBytes(entry.name) });
  } catch (error) {
    await close();
    throw error;
  }
}
