import { add } from "../../kernels/elementwise.ts";
import { scatterRows } from "../../kernels/gather-rows.ts";
import { type Value, elementCount, f32 } from "../../kernels/kernel.ts";
import { reshape } from "../../kernels/reshape.ts";
import { encodeSafetensors } from "../formats/safetensors-writer.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Graph } from "../runtime/graph.ts";
import type { NDArray } from "../nn/array.ts";
import type { StableDiffusion } from "./stable-diffusion.ts";

/** A word that stands for rows of its own in a prompt: textual inversion (arXiv 2208.01618). */
export interface LearnedEmbedding {
  /** As it is written in prompts, e.g. `<cce>`. */
  readonly name: string;
  /** f32 [vectors, tokenWidth]; each vector takes the place of one token. */
  readonly rows: Float32Array<ArrayBuffer>;
}

/**
 * The bytes of a `learned_embeds.safetensors` with one embedding; for SDXL the field's pair of `clip_l` and `clip_g`, whose word is the
 * file's name, or here what its metadata says.
 * @param file for errors @param widths of an embedding in each encoder
 */
export function encodeLearnedEmbedding(
  file: string,
  { name, rows }: LearnedEmbedding,
  widths: number | readonly number[],
): Uint8Array<ArrayBuffer> {
  const each = typeof widths === "number" ? [widths] : widths;
  const width = each.reduce((a, b) => a + b, 0);
  const count = rows.length / width;
  if (each.length === 1)
    return encodeSafetensors(
      file,
      { [name]: { dtype: "F32", shape: count === 1 ? [width] : [count, width], data: rows } },
      { format: "pt" },
    );
  let first = 0;
  const tensors = each.map((own, i) => {
    const data = new Float32Array(count * own);
    for (let r = 0; r < count; r++) data.set(rows.subarray(r * width + first, r * width + first + own), r * own);
    first += own;
    return [ENCODER_KEYS[i]!, { dtype: "F32", shape: [count, own], data }] as const;
  });
  return encodeSafetensors(file, Object.fromEntries(tensors), { format: "pt", name });
}

/** How files of embeddings call SDXL's encoders. */
export const ENCODER_KEYS = ["clip_l", "clip_g"] as const;

/** A prompt whose learned words have places of their own. */
export interface LearnedPrompt {
  /** Framed, u32 [length]; in the learned places an id outside the vocabulary, whose row is zeros. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Framed positions of the learned vectors, and the vectors in the same order. */
  readonly positions: readonly number[];
  readonly rows: Float32Array<ArrayBuffer>;
  /** Ids at the end that do not fit and are cut off. */
  readonly dropped: readonly number[];
}

/**
 * Tokenizes a prompt with learned words; the text between them is tokenized by itself, as transformers does with added tokens.
 * @throws UsageError for an embedding of another width than the model's, or a learned word that is cut off
 */
export function learnedPrompt(model: StableDiffusion, prompt: string, learned: readonly LearnedEmbedding[]): LearnedPrompt {
  const { tokenWidth: hiddenSize, vocabularySize } = model.text;
  for (const { name, rows } of learned) {
    if (rows.length === 0 || rows.length % hiddenSize !== 0) {
      throw new UsageError(
        `the learned embedding ${JSON.stringify(name)} has ${rows.length} numbers, this model's vectors have ${hiddenSize}: it was ` +
          "learned for another model",
      );
    }
  }
  const ids: number[] = [];
  const placed: { position: number; row: Float32Array }[] = [];
  for (const piece of splitAt(prompt, learned.map((l) => l.name))) {
    const word = learned.find((l) => l.name === piece);
    if (!word) ids.push(...model.tokenizer.tokenize(piece));
    else {
      for (let at = 0; at < word.rows.length; at += hiddenSize) {
        placed.push({ position: ids.length + 1, row: word.rows.subarray(at, at + hiddenSize) });
        ids.push(vocabularySize);
      }
    }
  }
  const room = model.tokenizer.maxLength - 2;
  if (placed.some(({ position }) => position > room)) {
    throw new UsageError(
      `the prompt has ${ids.length} tokens with its learned words, of which ${room} fit, and a learned word would be cut off: use a ` +
        "shorter prompt",
    );
  }
  const rows = new Float32Array(placed.length * hiddenSize);
  placed.forEach(({ row }, i) => rows.set(row, i * hiddenSize));
  return { ids: Uint32Array.from(model.tokenizer.frame(ids)), positions: placed.map((p) => p.position), rows, dropped: ids.slice(room) };
}

/** The text cut before and after every word; of two words at one place the longer. */
function splitAt(text: string, words: readonly string[]): string[] {
  const pattern = wordPattern(words);
  return pattern ? text.split(pattern).filter((piece) => piece !== undefined && piece !== "") : [text];
}

/** Whether a learned word stands in a text. */
export function holdsWord(text: string, word: string): boolean {
  return wordPattern([word])?.test(text) ?? false;
}

/**
 * Finds learned words. One that begins or ends with a letter or digit (`church-toy`, not `<church-toy>`) is not found inside a longer word.
 */
function wordPattern(words: readonly string[]): RegExp | undefined {
  const wanted = words.filter((w) => w !== "").toSorted((a, b) => b.length - a.length).map((w) => {
    const before = /^[\p{L}\p{N}]/u.test(w) ? "(?<![\\p{L}\\p{N}])" : "";
    const after = /[\p{L}\p{N}]$/u.test(w) ? "(?![\\p{L}\\p{N}])" : "";
    return `${before}${w.replace(/[$()*+.?[\\\]^{|}/]/g, "\\$&")}${after}`;
  });
  return wanted.length === 0 ? undefined : new RegExp(`(${wanted.join("|")})`, "u");
}

/** What to say of a prompt whose end does not fit and is cut off; undefined if all of it fits. @throws UsageError as `learnedPrompt` */
export function cutOffNote(model: StableDiffusion, prompt: string, learned: readonly LearnedEmbedding[] = []): string | undefined {
  const { dropped } = learnedPrompt(model, prompt, learned);
  if (dropped.length === 0) return undefined;
  const room = model.tokenizer.maxLength - 2;
  return `the prompt has ${room + dropped.length} tokens, ${room} fit; the last ${dropped.length} are cut off: ` +
    `${JSON.stringify(model.tokenizer.decode(dropped))}`;
}

/**
 * Token embeddings [B, T, tokenWidth] of ids [B, T] with learned rows [k, tokenWidth] at flat positions u32 [k]; what stands there in `ids`
 * must be outside the vocabulary.
 */
export function recordLearned(
  g: Graph,
  model: StableDiffusion,
  { ids, rows, positions }: { readonly ids: Value; readonly rows: Value; readonly positions: Value },
): Value {
  const embeddings = model.recordEmbeddings(g, ids);
  return add(g, embeddings, reshape(g, scatterRows(g, rows, positions, elementCount(ids.type.shape), true), embeddings.type.shape));
}

/**
 * Text encoding [1, rows, D] of a prompt with learned words.
 * @param second another prompt for SDXL's second encoder, without learned words. Default: the same
 * @throws UsageError as `learnedPrompt`, and for a second prompt beside learned words
 */
export async function encodeLearned(
  model: StableDiffusion,
  prompt: string,
  learned: readonly LearnedEmbedding[],
  second = prompt,
): Promise<NDArray> {
  const { ids, positions, rows } = learnedPrompt(model, prompt, learned);
  if (positions.length === 0) return model.encodePrompt(prompt, second);
  if (second !== prompt) throw new UsageError("a learned word is learned for both encoders: it cannot be used with a second prompt");
  const program = await model.program(`encode learned ${ids.length} ${positions.length}`, (g) => {
    const inputs = {
      ids: g.input("ids", { shape: [1, ids.length], dtype: "u32" }),
      rows: g.input("rows", f32([positions.length, model.text.tokenWidth])),
      positions: g.input("positions", { shape: [positions.length], dtype: "u32" }),
    };
    return { outputs: { hidden: model.recordTextEncoder(g, recordLearned(g, model, inputs), inputs.ids) } };
  });
  const hidden = await program.computeFloats({ ids, rows, positions: Uint32Array.from(positions) }, "hidden");
  return { data: hidden, shape: model.encodingShape(1, ids.length) };
}
