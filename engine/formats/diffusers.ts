/**
 * Model folders in the layout of diffusers and transformers: a `model_index.json` naming components, each a folder with its config
 * and weights; or a single model's folder, as of a classifier. Source: diffusers' `save_pretrained` and its file-name constants.
 */
import { FormatError, quote } from "./errors.ts";
import { asObject, joinPath, readJsonObject, type FileSystem } from "./file-system.ts";
import { openTensorPath } from "./open.ts";
import type { TensorFile } from "./tensor-file.ts";

export type Config = Readonly<Record<string, unknown>>;

export interface ModelComponent {
  /** As `model_index.json` calls it: unet, vae, text_encoder, tokenizer, scheduler. */
  readonly name: string;
  /** Python package and class that wrote it, e.g. "diffusers" and "UNet2DConditionModel". */
  readonly library: string;
  readonly className: string;
  readonly folder: string;
}

export interface DiffusersFolder {
  readonly folder: string;
  /** E.g. "StableDiffusionPipeline". */
  readonly className: string;
  readonly index: Config;
  /** Those present; a component set to null (a removed safety checker) is left out. */
  readonly components: ReadonlyMap<string, ModelComponent>;
}

const INDEX = "model_index.json";
const CONFIGS = ["config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json"];
/** In the order of preference: safetensors before pickles. A variant such as fp16 goes before the extension. */
const WEIGHTS = ["diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin", "pytorch_model.bin"];
const VARIANTS = ["fp16", "bf16", "non_ema", "ema"];

/** Whether a path is a folder with a `model_index.json`. */
export async function isDiffusersFolder(files: FileSystem, folder: string): Promise<boolean> {
  return (await files.kind(joinPath(folder, INDEX))) === "file";
}

/** Reads `model_index.json`. @throws FormatError if the folder or the index is missing or malformed, listing what was found. */
export async function readDiffusersFolder(files: FileSystem, folder: string): Promise<DiffusersFolder> {
  if (!(await isDiffusersFolder(files, folder))) {
    throw new FormatError(folder, `is not a diffusers folder: it has no ${INDEX}; ${await found(files, folder)}`);
  }
  const path = joinPath(folder, INDEX);
  const index = await readJsonObject(files, path);
  const components = new Map<string, ModelComponent>();
  for (const [name, value] of Object.entries(index)) {
    // a plain setting
    if (!Array.isArray(value) || value.length !== 2 || !value.every((part) => part === null || typeof part === "string")) continue;
    const [library, className] = value as [string | null, string | null];
    if (library === null || className === null) continue;
    if (/[/\\]|^\.*$/.test(name)) throw new FormatError(path, `component ${quote(name)} is not a plain folder name`);
    components.set(name, { name, library, className, folder: joinPath(folder, name) });
  }
  return { folder, className: String(index["_class_name"] ?? "unknown"), index, components };
}

/** @throws FormatError naming the component and those there are. */
export function requireComponent(model: DiffusersFolder, name: string): ModelComponent {
  const component = model.components.get(name);
  if (!component) {
    throw new FormatError(
      joinPath(model.folder, INDEX),
      `names no component ${quote(name)}; it has ${[...model.components.keys()].map(quote).join(", ") || "none"}`,
    );
  }
  return component;
}

/**
 * A component's settings: the first of config.json, scheduler_config.json, tokenizer_config.json, preprocessor_config.json.
 * @throws FormatError if there is none.
 */
export async function readConfig(files: FileSystem, folder: string): Promise<Config> {
  for (const name of CONFIGS) {
    const path = joinPath(folder, name);
    if ((await files.kind(path)) === "file") return readJsonObject(files, path);
  }
  throw new FormatError(folder, `has none of ${CONFIGS.join(", ")}; ${await found(files, folder)}`);
}

/** A named JSON object in a folder, or undefined if there is no such file. @throws FormatError if it is not a JSON object. */
export async function readOptionalConfig(files: FileSystem, folder: string, name: string): Promise<Config | undefined> {
  const path = joinPath(folder, name);
  return (await files.kind(path)) === "file" ? readJsonObject(files, path) : undefined;
}

/**
 * Path of a model folder's weights. The preferred variant goes first, then the plain name, then any other variant; among those
 * safetensors before PyTorch's, a single file before a sharded index. @throws FormatError listing the folder if it has none.
 */
export async function findWeights(files: FileSystem, folder: string, preferred?: string): Promise<string> {
  if ((await files.kind(folder)) !== "folder") throw new FormatError(folder, "no such folder");
  const names = new Set(await files.list(folder));
  for (const tag of new Set([preferred, undefined, ...VARIANTS])) {
    for (const base of WEIGHTS) {
      const dot = base.lastIndexOf(".");
      const name = tag ? `${base.slice(0, dot)}.${tag}${base.slice(dot)}` : base;
      // diffusers writes model.safetensors.index.fp16.json, newer releases model.fp16.safetensors.index.json
      const indices = [`${name}.index.json`, ...(tag ? [`${base}.index.${tag}.json`] : [])];
      const hit = [name, ...indices].find((candidate) => names.has(candidate));
      if (hit) return joinPath(folder, hit);
    }
  }
  throw new FormatError(folder, `has no weights: wanted one of ${WEIGHTS.join(", ")}; ${await found(files, folder)}`);
}

/** The variant that a weight file's name says it is; undefined for a plain name. */
export function variantOf(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return VARIANTS.find((tag) => name.includes(`.${tag}.`));
}

/**
 * The variant of weight files that suits how weights are stored on the device: half as much to fetch and read where they are halves anyway.
 */
export function variantFor(weights: "f32" | "f16" | undefined): string | undefined {
  return weights === "f16" ? "fp16" : undefined;
}

/** Opens a model folder's weights, sharded or not. @param preferred as for `findWeights` @throws FormatError */
export async function openWeights(files: FileSystem, folder: string, preferred?: string): Promise<TensorFile> {
  return openTensorPath(files, await findWeights(files, folder, preferred));
}

/** "id2label" of a classifier's config as a list by index. @throws FormatError unless its keys are 0 to n-1. */
export function readLabels(file: string, config: Config): string[] {
  const map = asObject(file, config["id2label"]);
  return Object.keys(map).map((_, i) => {
    const label = map[String(i)];
    if (typeof label !== "string") throw new FormatError(file, `id2label has no text for class ${i}`);
    return label;
  });
}

/** What a folder holds, for an error. */
async function found(files: FileSystem, folder: string): Promise<string> {
  const kind = await files.kind(folder);
  if (kind !== "folder") return kind === "file" ? "it is a file" : "there is no such folder";
  const names = await files.list(folder);
  return names.length > 0
    ? `it holds ${names.slice(0, 12).join(", ")}${names.length > 12 ? `, and ${names.length - 12} more` : ""}`
    : "it is empty";
}

