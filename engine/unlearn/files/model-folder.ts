import { findWeights, isDiffusersFolder, readDiffusersFolder } from "../../formats/diffusers.ts";
import type { ByteSource } from "../../formats/byte-source.ts";
import { type FileSystem, asObject, joinPath, readJsonObject, readTextFile } from "../../formats/file-system.ts";
import { UsageError } from "../../runtime/errors.ts";
import type { OutputFile } from "./output-file.ts";

/** A model's folder in diffusers' layout. */
export interface ModelFolder {
  readonly files: FileSystem;
  readonly folder: string;
  /** Which of a component's weight files were read: as for `findWeights`. */
  readonly variant?: string | undefined;
}

const PIECE = 2 ** 26;
const WEIGHTS = /\.(safetensors|bin|msgpack|onnx|ckpt|h5)(\.index(\.\w+)?\.json)?$/;

/**
 * Copies of a model folder's files: its index and every component's settings and weights, but the weights of one.
 * @throws UsageError if it is not a folder in that layout; FormatError
 */
export async function componentCopies({ files, folder, variant }: ModelFolder, without: string): Promise<OutputFile[]> {
  if (!(await isDiffusersFolder(files, folder))) {
    throw new UsageError(`${folder} is not a folder in diffusers' layout, whose other parts could be copied: choose another --layout`);
  }
  const names = ["model_index.json"];
  for (const { name, folder: own } of (await readDiffusersFolder(files, folder)).components.values()) {
    const there = (await files.list(own)).filter((file) => !file.endsWith("/"));
    names.push(...there.filter((file) => !WEIGHTS.test(file)).map((file) => `${name}/${file}`));
    if (name === without || !there.some((file) => WEIGHTS.test(file))) continue;
    const weights = await findWeights(files, own, variant);
    const shards = weights.endsWith(".json") ? asObject(weights, (await readJsonObject(files, weights))["weight_map"]) : {};
    names.push(...new Set([weights.slice(own.length + 1), ...Object.values(shards).map(String)].map((file) => `${name}/${file}`)));
  }
  return names.map((name) => ({ name, pieces: piecesOf(() => files.open(joinPath(folder, name))) }));
}

/**
 * The text of a component's config.json: through JavaScript's numbers 1.0 would become 1, which transformers 5 refuses.
 * @returns undefined if the model is not a folder in that layout
 * @throws FormatError
 */
export async function componentConfig({ files, folder }: ModelFolder, component: string): Promise<string | undefined> {
  if (!(await isDiffusersFolder(files, folder))) return undefined;
  const found = (await readDiffusersFolder(files, folder)).components.get(component);
  return found && readTextFile(files, joinPath(found.folder, "config.json"));
}

async function* piecesOf(open: () => Promise<ByteSource>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const source = await open();
  try {
    for (let at = 0; at < source.size; at += PIECE) yield await source.read(at, Math.min(PIECE, source.size - at));
  } finally {
    await source.close();
  }
}
