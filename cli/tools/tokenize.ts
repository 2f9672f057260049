import type { Command } from "commander";
import { action } from "../context.ts";
import { MODEL_NAMES } from "../model-source.ts";
import { openTokenizer } from "../model.ts";
import { quoted } from "../../engine/run/text/format.ts";
import { columnsOf, terminalTable } from "../terminal/table.ts";

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
        if (dropped.length > 0) {
          context.warn(
            `the prompt has ${tokenCount} tokens, ${tokenizer.maxLength - 2} fit; the last ${dropped.length} are cut off: ` +
              `${quoted(tokenizer.decode(dropped))}`,
          );
        }
        if (decoded.trim() !== options.prompt.trim()) context.say(`note: decoded, these ids read ${quoted(decoded)}`);
        context.result(
          {
            prompt: options.prompt,
            ids: [...ids],
            tokens: kept,
            pieces,
            tokenCount,
            dropped,
            truncated: dropped.length > 0,
            maxLength: tokenizer.maxLength,
            vocabularySize: tokenizer.vocabularySize,
            decoded,
          },
          `${terminalTable(
            columnsOf(["id", "piece"], [0]),
            kept.map((id, i) => [String(id), quoted(pieces[i]!).slice(1, -1)]),
          )}\n${tokenCount} of ${tokenizer.maxLength - 2} tokens`,
        );
      }),
    );
}
