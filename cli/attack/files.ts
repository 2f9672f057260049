import { stat } from "node:fs/promises";
import { findWeights, isDiffusersFolder, readDiffusersFolder } from "../../engine/formats/diffusers.ts";
import { asObject, joinPath, parseJson, readTextFile } from "../../engine/formats/file-system.ts";
import { isSynthetic } from "../../engine/formats/model-source.ts";
import { TOKENIZER_FILES } from "../../engine/diffusion/tokenizer-folder.ts";
import { nodeFiles, sha256File } from "../../engine/platform/node-files.ts";
import type { FileRecord } from "../../engine/run/record.ts";
import type { ModelPart } from "../model.ts";

/** Components of a model folder whose files decide what is drawn. */
const COMPONENTS = ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae", "scheduler"];
const SETTINGS = ["config.json", "scheduler_config.json", "preprocessor_config.json", ...TOKENIZER_FILES];

/**
 * Size and SHA-256 of every file of a model folder, a classifier folder, and single files; a model with made-up weights has none.
 * @throws FormatError
 */
export async function recordFiles(parts: readonly ModelPart[]): Promise<FileRecord[]> {
  const files: { role: string; path: string }[] = [];
  for (const { role, path, variant } of parts) {
    if (isSynthetic(path)) continue;
    if ((await nodeFiles.kind(path)) !== "folder") files.push({ role, path });
    else if (await isDiffusersFolder(nodeFiles, path)) {
      const { components } = await readDiffusersFolder(nodeFiles, path);
      for (const name of COMPONENTS) {
        if (components.has(name)) files.push(...(await componentFiles(name, components.get(name)!.folder, variant)));
      }
    } else files.push(...(await componentFiles(role, path, variant)));
  }
  const records: FileRecord[] = [];
  for (const { role, path } of files) {
    const sha256 = await sha256File(path); // first: it says which file is missing
    records.push({ role, path, bytes: (await stat(path)).size, sha256 });
  }
  return records;
}

async function componentFiles(role: string, folder: string, variant: string | undefined): Promise<{ role: string; path: string }[]> {
  const names = new Set(await nodeFiles.list(folder));
  const settings = SETTINGS.filter((n) => names.has(n)).map((n) => ({ role, path: joinPath(folder, n) }));
  if (![...names].some((n) => /\.(safetensors|bin)(\.index(\.\w+)?\.json)?$/.test(n))) return settings;
  const weights = await findWeights(nodeFiles, folder, variant);
  const shards = weights.endsWith(".json") ? await shardsOf(weights, folder) : [];
  return [...settings, ...[weights, ...shards].map((path) => ({ role, path }))];
}

async function shardsOf(index: string, folder: string): Promise<string[]> {
  const map = asObject(index, asObject(index, parseJson(index, await readTextFile(nodeFiles, index)))["weight_map"]);
  return [...new Set(Object.values(map).map(String))].toSorted().map((name) => joinPath(folder, name));
}
