import type { Command } from "commander";
import { readConfig, readDiffusersFolder, requireComponent } from "../../engine/formats/diffusers.ts";
import { joinPath } from "../../engine/formats/file-system.ts";
import { Config } from "../../engine/nn/config.ts";
import { openFileTokenizer } from "../../engine/loading/load-file.ts";
import { isSynthetic, openSynthetic } from "../../engine/loading/load-synthetic.ts";
import { loadTokenizer } from "../../engine/diffusion/tokenizer-folder.ts";
import { textEncoderConfig } from "../../engine/diffusion/text-encoder.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { action, type Context } from "../context.ts";
import { MODEL_NAMES, resolveModel } from "../model-source.ts";
import { formatTable, quoted } from "../../engine/run/text.ts";

interface TokenizeOptions {
  readonly model: string;
  readonly prompt: string;
}

export function tokenizeCommand(program: Command): void {
  program
    .command("tokenize")
    .description("show the token ids and pieces of a prompt")
    .requiredOption("--model <model>", MODEL_NAMES)
    .requiredOption("--prompt <prompt>", "the text")
    .action(
      action<TokenizeOptions>(async (options, context) => {
        const tokenizer = await openTokenizer(options.model, context);
        const { ids, tokenCount, dropped } = tokenizer.encodeFully(options.prompt);
        const kept = tokenizer.tokenize(options.prompt).slice(0, tokenCount - dropped.length);
        const pieces = tokenizer.pieces(kept);
        const decoded = tokenizer.decode(kept);
        if (dropped.length > 0) context.say(`warning: the prompt has ${tokenCount} tokens, ${tokenizer.maxLength - 2} fit; the last ${dropped.length} are cut off: ${quoted(tokenizer.decode(dropped))}`);
        if (decoded.trim() !== options.prompt.trim()) context.say(`note: decoded, these ids read ${quoted(decoded)}`);
        context.result(
          { prompt: options.prompt, ids: [...ids], tokens: kept, pieces, tokenCount, dropped, truncated: dropped.length > 0, maxLength: tokenizer.maxLength, vocabularySize: tokenizer.vocabularySize, decoded },
          `${formatTable([{ title: "id", right: true }, { title: "piece" }], kept.map((id, i) => [String(id), quoted(pieces[i]!).slice(1, -1)]))}\n${tokenCount} of ${tokenizer.maxLength - 2} tokens`,
        );
      }),
    );
}

/** The tokenizer of a model folder, cut to the length its text encoder takes; of a checkpoint file CLIP's own, as loading takes it. @throws FormatError, InputError, TokenizerError */
async function openTokenizer(model: string, context: Context): Promise<Tokenizer> {
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
