// The vocabulary of Stable Diffusion 1.x and 2.x from CLIP's own merge list, for checkpoints that bring no tokenizer.
import { BYTE_SYMBOLS } from "./bytes.ts";
import { END_OF_WORD } from "./bpe.ts";
import { TokenizerError } from "./errors.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";
import { MAX_MERGES } from "./vocabulary.ts";

/** How the built-in tokenizer frames a prompt. */
export interface ClipTokenizerOptions {
  /** Length of an encoded prompt, bos and eos included. Default 77. */
  readonly maxLength?: number;
  /** The padding's id: 49407 (default, SD 1.x) or 0 (SD 2, whose "!" is then cut out of texts as a special token). */
  readonly padId?: number;
}

async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  try {
    return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  } catch (cause) {
    throw new TokenizerError("CLIP's merge list (bpe_simple_vocab_16e6.txt.gz): not a whole gzip file", { cause });
  }
}

/**
 * CLIP's tokenizer from the bytes of `bpe_simple_vocab_16e6.txt.gz` (openai/CLIP, MIT licence). The vocabulary is the 256
 * byte symbols, the same as ends of words, one piece per merge of lines 1..48894, then bos 49406 and eos 49407.
 * @throws TokenizerError if the bytes are not that list, or `padId` is outside the vocabulary.
 */
export async function createClipTokenizer(gzip: Uint8Array<ArrayBuffer>, options: ClipTokenizerOptions = {}): Promise<Tokenizer> {
  const lines = (await gunzip(gzip)).split("\n").slice(0, MAX_MERGES + 1);
  if (lines.length <= MAX_MERGES) {
    throw new TokenizerError(
      `CLIP's merge list (bpe_simple_vocab_16e6.txt.gz): expected at least ${MAX_MERGES + 1} lines, found ${lines.length}`,
    );
  }
  const merged = lines.slice(1).map((line) => line.replace(" ", ""));
  const pieces = [...BYTE_SYMBOLS, ...BYTE_SYMBOLS.map((symbol) => symbol + END_OF_WORD), ...merged, "<|startoftext|>", "<|endoftext|>"];
  const padId = options.padId ?? pieces.length - 1;
  const pad = pieces[padId];
  if (pad === undefined) throw new TokenizerError(`padId ${padId}: expected an id from 0 to ${pieces.length - 1}`);
  return createTokenizer({
    vocabulary: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    merges: lines.join("\n"),
    specialTokens: { pad_token: pad },
    maxLength: options.maxLength,
  });
}
