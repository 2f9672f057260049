import type { FileSystem } from "./file-system.ts";

/** A model somewhere: a folder in diffusers layout, or a single-file checkpoint. */
export interface ModelSource {
  readonly files: FileSystem;
  /** Path of the folder or of the file; or `synthetic:sd14`, real shapes with made-up weights. */
  readonly folder: string;
  /** Bytes of CLIP's own merge list, `bpe_simple_vocab_16e6.txt.gz`, for checkpoints that bring no tokenizer. */
  readonly clipMerges?: (() => Promise<Uint8Array<ArrayBuffer>>) | undefined;
}

/** How the names of models with made-up weights begin. */
export const SYNTHETIC = "synthetic:";

/** Whether a model's name asks for one with made-up weights. */
export function isSynthetic(name: string): boolean {
  return name.startsWith(SYNTHETIC);
}
