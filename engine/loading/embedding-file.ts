/** Files of learned embeddings (textual inversion, arXiv 2208.01618), as the field's tools write them. */
import { FormatError, quote } from "../formats/errors.ts";
import type { FileSystem } from "../formats/file-system.ts";
import { openTensorPath } from "../formats/open.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import { InputError } from "../runtime/errors.ts";
import { ENCODER_KEYS, type LearnedEmbedding } from "../diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { requireFloats, weightSource } from "../nn/weight-source.ts";

/** A learned embedding out of a file. */
export interface FileEmbedding extends LearnedEmbedding {
  readonly file: string;
  /** Of each of its vectors. */
  readonly width: number;
}

/** A word and the tensor of its vectors. */
interface Found {
  readonly word: string;
  readonly tensor: string;
}

/**
 * The embeddings of a file, by its structure:
 * - diffusers' textual_inversion.py (`learned_embeds.bin`, `.safetensors`): a tensor under each word;
 * - AUTOMATIC1111's `.pt`: `string_to_param` with one entry `*`; the word is the file's `name`, else its file name;
 * - rinongal/textual_inversion's `.pt`: the same as a ParameterDict, without a name: the word is its file name, or what the entry is called
 * (`*`);
 * - kohya's `emb_params`, and a bare tensor: the word is the file name;
 * - SDXL's pair `clip_l` and `clip_g` (kohya, ComfyUI), of one length: side by side, the word is the metadata's `name`, else the file name.
 * Each tensor is [hidden] or [vectors, hidden].
 * @throws FormatError for whole numbers, numbers that are not finite, one of a pair alone, and a file that holds anything else
 */
export async function readLearnedEmbeddings(files: FileSystem, path: string): Promise<FileEmbedding[]> {
  const file = await openTensorPath(files, path);
  try {
    if (PAIR.some((key) => file.entries.has(key))) return [await readPair(path, file)];
    const found: FileEmbedding[] = [];
    const read = new Map<string, Float32Array<ArrayBuffer>>(); // by tensor: of one that goes by two names both have the same rows
    for (const { word, tensor } of wordsOf(path, file)) {
      const entry = file.entries.get(tensor)!;
      const { shape } = entry;
      if (shape.length < 1 || shape.length > 2 || shape.includes(0) || word.trim() === "") {
        throw new FormatError(
          path,
          `tensor ${quote(tensor)} has shape [${shape.join(", ")}]; a learned embedding is [hidden] or [vectors, hidden] under the word ` +
            "it stands for",
        );
      }
      requireFloats(path, entry);
      const rows = read.get(tensor) ?? (await weightSource(file).readFloat32(tensor));
      read.set(tensor, rows);
      found.push({ name: word, rows, file: path, width: shape.at(-1)! });
    }
    if (found.length === 0) throw new FormatError(path, "holds no learned embedding");
    return found;
  } finally {
    await file.close();
  }
}

const PAIR = ENCODER_KEYS;

/** What was learned for SDXL's two encoders, each vector of both side by side. @throws FormatError */
async function readPair(path: string, file: TensorFile): Promise<FileEmbedding> {
  const parts: { data: Float32Array; count: number; width: number }[] = [];
  for (const key of PAIR) {
    const entry = file.entries.get(key);
    const { shape = [] } = entry ?? {};
    if (!entry || shape.length < 1 || shape.length > 2 || shape.includes(0)) {
      throw new FormatError(
        path,
        `is an embedding for SDXL and needs ${PAIR.join(" and ")}, [hidden] or [vectors, hidden] each; ${key} is ${
          entry ? `[${shape.join(", ")}]` : "missing"
        }`,
      );
    }
    requireFloats(path, entry);
    const width = shape.at(-1)!;
    const data = await weightSource(file).readFloat32(key);
    parts.push({ data, width, count: data.length / width });
  }
  const [l, g] = parts as [(typeof parts)[0], (typeof parts)[0]];
  if (l.count !== g.count) throw new FormatError(path, `has ${l.count} vectors for SDXL's first encoder and ${g.count} for the second`);
  const width = l.width + g.width;
  const rows = new Float32Array(l.count * width);
  for (let i = 0; i < l.count; i++) {
    rows.set(l.data.subarray(i * l.width, (i + 1) * l.width), i * width);
    rows.set(g.data.subarray(i * g.width, (i + 1) * g.width), i * width + l.width);
  }
  const named = file.metadata["name"] ?? "";
  return { name: named.trim() === "" ? ownName(path) : named, rows, file: path, width };
}

/** A file's name without folders and ending. */
function ownName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/\.\w+$/, "");
}

function wordsOf(path: string, { entries, metadata }: TensorFile): Found[] {
  const names = [...entries.values()].filter(({ role }) => role === undefined).map(({ name }) => name);
  const own = ownName(path);
  const placeholders = names.filter((name) => name.startsWith("string_to_param."));
  if (placeholders.length > 0) {
    return placeholders.flatMap((tensor): Found[] => {
      const key = tensor.slice("string_to_param.".length);
      if (placeholders.length > 1) return [{ word: key, tensor }];
      const named = metadata["name"] ?? "";
      return named.trim() === ""
        ? [
            { word: own, tensor },
            { word: key, tensor },
          ]
        : [{ word: named, tensor }];
    });
  }
  if (names.length === 1 && (names[0] === "emb_params" || names[0] === "tensor")) return [{ word: own, tensor: names[0] }];
  return names.map((name) => ({ word: name, tensor: name }));
}

/**
 * @throws InputError naming file, word and both widths for an embedding that was learned for a text encoder of another width, or two of one
 * word
 */
export function requireFitting(model: StableDiffusion, learned: readonly FileEmbedding[]): void {
  const { tokenWidth: hiddenSize } = model.text;
  const seen = new Map<string, string>();
  for (const { file, name, width, rows } of learned) {
    if (width !== hiddenSize) {
      throw new InputError(
        `${file}: the learned word ${quote(name)} is [${rows.length / width}, ${width}]: ` +
        `it was learned for ${width === 2048 ? "SDXL" : `a text encoder ${width} wide`}, ` +
          `this model's ${model.isXl ? "two are together" : "is"} ${hiddenSize} wide`,
      );
    }
    const other = seen.get(name);
    if (other !== undefined) throw new InputError(`${file}: the learned word ${quote(name)} is in ${other} too; rename one of them`);
    seen.set(name, file);
  }
}
