import { readConfig, readDiffusersFolder, requireComponent } from "../engine/formats/diffusers.ts";
import { joinPath } from "../engine/formats/file-system.ts";
import { Config } from "../engine/nn/config.ts";
import { openFileTokenizer } from "../engine/loading/load-file.ts";
import { isSynthetic } from "../engine/formats/model-source.ts";
import { openSynthetic } from "../engine/loading/load-synthetic.ts";
import { loadTokenizer } from "../engine/diffusion/tokenizer-folder.ts";
import { textEncoderConfig } from "../engine/diffusion/text-encoder.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { Context } from "./context.ts";
import { resolveModel } from "./model-source.ts";

/**
 * The tokenizer of a model folder, cut to the length its text encoder takes; of a checkpoint file CLIP's own, as loading takes it. @throws
 * FormatError, InputError, TokenizerError
 */
export async function openTokenizer(model: string, context: Context): Promise<Tokenizer> {
  const { files, folder, clipMerges } = await resolveModel(model, context, { components: ["text_encoder", "tokenizer"], weights: false });
  if (isSynthetic(folder)) {
    const { tokenizer } = await openSynthetic(folder, clipMerges);
    return tokenizer!; // the merge list is there
  }
  if ((await files.kind(folder)) === "file") return openFileTokenizer(files, folder, clipMerges);
  const index = await readDiffusersFolder(files, folder);
  const text = requireComponent(index, "text_encoder").folder;
  const { maxLength } = textEncoderConfig(Config.of(joinPath(text, "config.json"), await readConfig(files, text)));
  return loadTokenizer(files, requireComponent(index, "tokenizer").folder, maxLength);
}
