/** Where models are found on Node: the bundled one by its name, everything else on the disk. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { FileSystem } from "../formats/file-system.ts";
import { nodeFiles, readBytes } from "./node-files.ts";

/** The bundled model's name. */
const BUNDLED = "emoji";

/**
 * The folder of bundled data. It is looked for above this file, so that it is found from the checkout, from a bundle in dist/ and from an
 * installed package alike, whatever the working directory.
 * @throws Error if the package is incomplete.
 */
export function assetsFolder(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (let folder = here; ; folder = dirname(folder)) {
    const assets = join(folder, "assets");
    if (existsSync(join(assets, BUNDLED, "model_index.json"))) return assets;
    if (folder === dirname(folder)) throw new Error(`the bundled model is missing: no assets/${BUNDLED} in any folder above ${here}`);
  }
}

/**
 * `emoji` and paths below it, such as `emoji/classifier/object`, as paths of the bundled model; any other path as it is.
 * A file or folder of that name in the working directory goes first, except for plain `emoji`.
 */
export function resolvePath(path: string): string {
  const [first, ...rest] = path.split(/[/\\]/);
  if (first !== BUNDLED || (rest.length > 0 && existsSync(path))) return path;
  return join(assetsFolder(), BUNDLED, ...rest);
}

/** Bytes of CLIP's own merge list, for checkpoints that bring no tokenizer. @throws FormatError */
export function clipMerges(): Promise<Uint8Array<ArrayBuffer>> {
  return readBytes(join(assetsFolder(), "clip", "bpe_simple_vocab_16e6.txt.gz"));
}

/** A model named as on the command line: `emoji`, a folder in diffusers layout, or a checkpoint file. It is not opened yet. */
export function modelSource(name: string): {
  readonly files: FileSystem;
  readonly folder: string;
  readonly clipMerges: () => Promise<Uint8Array<ArrayBuffer>>;
} {
  return { files: nodeFiles, folder: resolvePath(name), clipMerges };
}
