import { type Tokenizer, createTokenizer } from "../../tokenizer/index.ts";
import { readOptionalConfig } from "../formats/diffusers.ts";
import { type FileSystem, joinPath, readJsonFile, readTextFile } from "../formats/file-system.ts";

/** The files that a tokenizer's folder may have: all releases of transformers together. */
export const TOKENIZER_FILES = [
  "vocab.json",
  "merges.txt",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
] as const;

/**
 * The tokenizer of a folder as transformers 3 to 5 save it: vocab.json and merges.txt, or tokenizer.json alone (5), with added tokens in
 * added_tokens.json (before 4.34), in tokenizer_config.json, or in tokenizer.json.
 * @throws FormatError, TokenizerError
 */
export async function loadTokenizer(files: FileSystem, folder: string, maxLength?: number): Promise<Tokenizer> {
  const optional = (name: (typeof TOKENIZER_FILES)[number]): ReturnType<typeof readOptionalConfig> =>
    readOptionalConfig(files, folder, name);
  const alone =
    (await files.kind(joinPath(folder, "vocab.json"))) !== "file" && (await files.kind(joinPath(folder, "tokenizer.json"))) === "file";
  return createTokenizer({
    ...(alone
      ? { tokenizer: (await readJsonFile(files, joinPath(folder, "tokenizer.json"))) as Record<string, unknown> }
      : {
          vocabulary: (await readJsonFile(files, joinPath(folder, "vocab.json"))) as Record<string, number>,
          merges: await readTextFile(files, joinPath(folder, "merges.txt")),
        }),
    addedTokens: await optional("added_tokens.json"),
    config: await optional("tokenizer_config.json"),
    specialTokens: await optional("special_tokens_map.json"),
    maxLength,
  });
}
