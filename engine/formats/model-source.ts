import type { FileSystem } from "./file-system.ts";

/** A model somewhere: a folder in diffusers layout, or a single-file checkpoint. */
export interface ModelSource {
  readonly files: FileSystem;
  /** Path of the folder or of the file; or `synthetic:sd14`, real shapes with made-up weights. */
  readonly folder: string;
  /** Bytes of CLIP's own merge list, `bpe_simple_vocab_16e6.txt.gz`, for checkpoints that bring no tokenizer. */
  readonly clipMerges?: (() => Promise<Uint8Array<ArrayBuffer>>) | undefined;
}
