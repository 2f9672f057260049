import { type Tokenizer, createTokenizer } from "../../tokenizer/index.ts";
import { readOptionalConfig } from "../formats/diffusers.ts";
import { type FileSystem, joinPath, readJsonFile, readTextFile } from "../formats/file-system.ts";

/** The tokenizer of a folder with vocab.json and merges.txt. @throws FormatError, TokenizerError */
export async function loadTokenizer(files: FileSystem, folder: string, maxLength?: number): Promise<Tokenizer> {
  return createTokenizer({
    vocabulary: (await readJsonFile(files, joinPath(folder, "vocab.json"))) as Record<string, number>,
    merges: await readTextFile(files, joinPath(folder, "merges.txt")),
    config: await readOptionalConfig(files, folder, "tokenizer_config.json"),
    specialTokens: await readOptionalConfig(files, folder, "special_tokens_map.json"),
    maxLength,
  });
}
