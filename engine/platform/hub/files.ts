/** Which files of a repository loading a model needs: the rest of a Stable Diffusion repository is several times as large. */
import { findWeights } from "../../formats/diffusers.ts";
import { FormatError, quote } from "../../formats/errors.ts";
import { type FileSystem, isObject, memoryFiles } from "../../formats/file-system.ts";
import { HubError } from "./error.ts";

/** The parts of a pipeline that are loaded; safety checkers and feature extractors are not. */
export const COMPONENTS: readonly string[] = ["unet", "text_encoder", "text_encoder_2", "vae", "tokenizer", "tokenizer_2", "scheduler"];
export const MODEL_INDEX = "model_index.json";
const SMALL_FILES = [
  "config.json",
  "scheduler_config.json",
  "tokenizer_config.json",
  "preprocessor_config.json",
  "vocab.json",
  "merges.txt",
  "special_tokens_map.json",
  "added_tokens.json",
];
/** All that transformers 5 saves of a tokenizer; asked for where the older files are absent, as it is twice their size. */
const WHOLE_TOKENIZER = "tokenizer.json";
const CHECKPOINT = /\.(?:safetensors|ckpt|pt|pth|bin|onnx)$/i;

export interface WantedFiles {
  /** Configurations, tokenizer files, and the indexes of sharded weights. */
  readonly small: readonly string[];
  /** Weight files, without the shards that the indexes name. */
  readonly weights: readonly string[];
  readonly indexes: readonly string[];
}

/** No weights at all, or those that `findWeights` chooses with or without a preferred variant such as "fp16". */
export type WeightChoice = "none" | { readonly variant: string | undefined };

/**
 * What a pipeline's components need; or, without components, the whole repository as one model (a classifier).
 * Weights are chosen as `findWeights` chooses when the model is loaded.
 * @param names all files of the repository.
 * @throws HubError naming the component and what it lacks.
 */
export async function wantedFiles(
  id: string,
  names: ReadonlySet<string>,
  components: readonly string[] | undefined,
  choice: WeightChoice,
): Promise<WantedFiles> {
  const listing = memoryFiles(Object.fromEntries([...names].map((name) => [`${id}/${name}`, ""])));
  const small: string[] = [];
  const weights: string[] = [];
  const indexes: string[] = [];
  for (const component of components ?? [""]) {
    const folder = component === "" ? "" : `${component}/`;
    const whole = isTokenizer(component) && !names.has(`${folder}vocab.json`) && names.has(folder + WHOLE_TOKENIZER);
    const lacking = whole ? [] : requiredFiles(component).filter((name) => !names.has(folder + name));
    if (lacking.length > 0) throw new HubError("not-found", `${id}/${component}: lacks ${lacking.join(", ")}`);
    if (whole) small.push(folder + WHOLE_TOKENIZER);
    small.push(...SMALL_FILES.map((name) => folder + name).filter((name) => names.has(name)));
    if (choice === "none" || !hasWeights(component)) continue;
    const found = (await choose(listing, `${id}/${component}`.replace(/\/$/, ""), choice.variant)).slice(id.length + 1);
    (found.endsWith(".json") ? indexes : weights).push(found);
  }
  return { small: [...small, ...indexes], weights, indexes };
}

function hasWeights(component: string): boolean {
  return !isTokenizer(component) && component !== "scheduler";
}

function isTokenizer(component: string): boolean {
  return component === "tokenizer" || component === "tokenizer_2";
}

function requiredFiles(component: string): readonly string[] {
  if (isTokenizer(component)) return ["vocab.json", "merges.txt"];
  return component === "scheduler" ? ["scheduler_config.json"] : ["config.json"];
}

async function choose(listing: FileSystem, folder: string, variant: string | undefined): Promise<string> {
  try {
    return await findWeights(listing, folder, variant);
  } catch (error) {
    if (error instanceof FormatError) throw new HubError("not-found", error.message, { cause: error });
    throw error;
  }
}

/** The shards a checkpoint index names, as paths of the repository. @throws HubError if one is not there. */
export function shardsOf(id: string, indexName: string, index: unknown, names: ReadonlySet<string>): string[] {
  const map = isObject(index) ? index["weight_map"] : undefined;
  if (!isObject(map)) throw new HubError("refused", `${id}/${indexName}: is not a checkpoint index: it has no "weight_map"`);
  const folder = indexName.slice(0, indexName.lastIndexOf("/") + 1);
  const shards = [...new Set(Object.values(map).map(String))];
  for (const shard of shards) {
    if (shard.includes("/") || !names.has(folder + shard)) {
      throw new HubError("not-found", `${id}/${indexName}: names a shard ${quote(shard)} that the repository does not have`);
    }
  }
  return shards.map((shard) => folder + shard);
}

/** What to say of a repository that holds no model in a layout known here. */
export function unknownLayout(id: string, names: Iterable<string>): HubError {
  const files = [...names].filter((name) => CHECKPOINT.test(name));
  const list = files.slice(0, 12).join(", ") + (files.length > 12 ? `, and ${files.length - 12} more` : "");
  return new HubError(
    "not-found",
    `${id}: has neither ${MODEL_INDEX} nor config.json, so it is not a model folder; ` +
      `${files.length > 0 ? `name one of its files instead, as ${id}/FILE: ${list}` : "it holds no weight files"}`,
  );
}

/** The one checkpoint at the top of a repository of single files, if it is the only one. */
export function onlyCheckpoint(names: Iterable<string>): string | undefined {
  const files = [...names].filter((name) => !name.includes("/") && CHECKPOINT.test(name));
  return files.length === 1 ? files[0] : undefined;
}
