import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import type { NDArray } from "../nn/array.ts";
import type { WeightSource } from "../nn/parameters.ts";
import type { Given, Values } from "../options/option.ts";
import { filledIn, problemOf } from "../options/values.ts";
import { UsageError } from "../runtime/errors.ts";
import type { Trainer } from "../train/trainer.ts";
import type { LazyTensor } from "../train/trained-tensors.ts";
import type { StableDiffusionPipeline } from "../diffusion/pipeline.ts";
import { METHODS, type MethodName, type RecipeName } from "./methods.ts";
import { UNLEARN_OPTIONS } from "./option-table.ts";
import { RECIPES, type Recipe, recipesOf } from "./recipes.ts";
import type { PictureBatch } from "./common/batch.ts";
import type { Draws } from "./common/draws.ts";
import { isSearch } from "./inner/search-attack.ts";
import { type TensorRule, tensorsOf } from "./common/trained-tensors.ts";

/** A picture to train on. */
export interface TrainingPicture {
  /** [1, 3, H, W] in [-1, 1]; all of one size. */
  readonly image: NDArray;
  readonly prompt: string;
}

/** What a method is shown besides prompts. Left out: drawn from the model itself. */
export interface TrainingPictures {
  /** Of the concepts; of fine-tuning and LoRA, all there is; of concept ablation, of the anchor. */
  readonly concept?: readonly TrainingPicture[];
  /** Of what is to stay. */
  readonly retain?: readonly TrainingPicture[];
}

/** A training as it stood after a step: together with the same options all that is needed to go on, bit for bit. */
export interface SavedTraining {
  /** Steps done. */
  readonly step: number;
  /** Random state and whatever else is small. */
  readonly json: unknown;
  /** Weights, moments, averages: `component/kind/tensor`, to be read before the training goes on. */
  readonly tensors: readonly LazyTensor[];
}

/** The same, read back. */
export interface ResumedTraining {
  readonly step: number;
  readonly json: unknown;
  /** By the names that `SavedTraining.tensors` had. */
  readonly tensors: WeightSource;
}

/** Something done between two steps. */
export interface Pause {
  /** After every so many steps, and after the last. */
  readonly every: number;
  /** @param model with the weights as trained so far */
  readonly at: (step: number, model: StableDiffusionPipeline) => Promise<void>;
}

/** What a method is told: the options of UNLEARN_OPTIONS, and what is not a number or name. */
export interface UnlearnOptions extends Given<typeof UNLEARN_OPTIONS> {
  readonly method: MethodName;
  /** What is erased; of fine-tuning and LoRA, the prompts of drawn pictures. */
  readonly concepts: readonly string[];
  /** What each concept is turned into, where they differ; else `anchor` is for all of them. */
  readonly anchors?: readonly string[] | undefined;
  /** Prompts that are to stay as they are. */
  readonly retain?: readonly string[] | undefined;
  readonly images?: TrainingPictures | undefined;
  /** SalUn's: 0 and 1 for each weight of the UNet, made before. Default: made of the model's gradients. */
  readonly mask?: WeightSource | undefined;
  /** Called with the state after every so many steps, once its losses and weights are known to be finite. */
  readonly state?: { readonly every: number; readonly save: (state: SavedTraining) => Promise<void> } | undefined;
  readonly resume?: ResumedTraining | undefined;
  readonly pauses?: readonly Pause[] | undefined;
  /** Stops the training between two command buffers; `unlearn` then rejects with an AbortError, and the last state given out is good. */
  readonly signal?: AbortSignal | undefined;
}

/** Hooks of the replays of recorded runs. */
export interface UnlearnHooks {
  readonly draws?: Draws;
  /** Called with intermediate results as they are made, which are read when asked for. */
  readonly observe?: (name: string, read: () => Promise<NDArray>) => Promise<void>;
  /** In the place of training pictures: batch number `index` of a set. */
  readonly pictures?: (name: string, index: number) => Promise<PictureBatch>;
  /** What a LoRA's tensor begins with. */
  readonly initial?: (component: string, tensor: string, shape: readonly number[]) => Float32Array<ArrayBuffer>;
  /** Called after each update of the weights, whose gradients are kept for it. */
  readonly onUpdate?: (trainer: Trainer) => Promise<void>;
}

const TRAJECTORY_METHODS: readonly MethodName[] = ["esd-x", "esd-u", "esd", "advunlearn"];

/** Methods that know SDXL's two text encoders and its sizes. */
const TWO_ENCODERS: readonly MethodName[] = ["esd-x", "esd-u", "esd", "uce", "rece"];

/** Options with the recipe's numbers filled in. */
export interface Settings extends Values<typeof UNLEARN_OPTIONS> {
  readonly recipe: RecipeName;
  readonly published: Recipe;
  /** What is trained or edited; undefined of LoRA, which adds weights of its own. */
  readonly rule: TensorRule | undefined;
  readonly concepts: readonly string[];
  /** One for each concept; "" where none is given. */
  readonly anchors: readonly string[];
  readonly retain: readonly string[];
  /** Latent height and width. */
  readonly latentSize: readonly [number, number];
}

/**
 * Options with defaults, all of them checked.
 * @throws UsageError naming what is wrong, what it was, and what it may be
 */
export function resolveUnlearn(model: StableDiffusion, options: UnlearnOptions): Settings {
  const { method, retain = [] } = options;
  const problem = problemOf(UNLEARN_OPTIONS.method, method);
  if (problem !== undefined) throw new UsageError(`method ${problem}`);
  const names = recipesOf(method);
  const fitting = recipesOf(method, model.isXl ? "sdxl" : "sd");
  const recipeName = options.recipe ?? fitting[0] ?? names[0]!;
  const recipe = Object.hasOwn(RECIPES, recipeName) ? RECIPES[recipeName] : undefined;
  if (!recipe?.methods.includes(method)) {
    throw new UsageError(`recipe ${JSON.stringify(recipeName)} is not one of ${method}; choose one of ${names.join(", ")}`);
  }
  if (!fitting.includes(recipeName)) throw new UsageError(wrongFamily(model, method, recipeName, fitting));
  for (const [name, { of }] of Object.entries(UNLEARN_OPTIONS)) {
    const given = (options as unknown as Readonly<Record<string, unknown>>)[name];
    if (of && !of.includes(method) && given !== undefined && given !== null && given !== false) {
      throw new UsageError(`${name} is an option of ${of.join(", ")}, not of ${method}`);
    }
  }
  const given = definedOf(options);
  const trained = given.tensors ?? recipe.trains[method];
  const defaults = { ...recipe.defaults, ...(trained && recipe.training?.[trained]) };
  const values = filledIn(UNLEARN_OPTIONS, { ...defaults, ...given }, method);
  if (!recipe.predictions.includes(model.predictionType as never)) {
    const kinds = recipe.predictions.join(" or ");
    throw new UsageError(`recipe ${recipeName} is made for models that predict ${kinds}; this one predicts ${model.predictionType}`);
  }
  if (model.parts.second && !TWO_ENCODERS.includes(method)) {
    throw new UsageError(`${method} is for Stable Diffusion 1 and 2; for SDXL, with its two text encoders, use ${TWO_ENCODERS.join(", ")}`);
  }
  if (model.parts.transport) throw new UsageError("the model's weights follow the prompt (SPM); an erasing method needs fixed weights");
  if (values.tensors !== null && !recipe.rules?.includes(values.tensors)) {
    throw new UsageError(`tensors ${JSON.stringify(values.tensors)} is not of recipe ${recipeName}; choose ${recipe.rules?.join(", ")}`);
  }
  const rule = values.tensors ?? recipe.trains[method];
  if (rule !== undefined && tensorsOf(model, rule).tensors.length === 0) {
    throw new UsageError(`tensors ${JSON.stringify(rule)} are none of this model's; choose others of ${recipe.rules?.join(", ")}`);
  }
  if (options.attackInit === "latest" && isSearch(values.attack)) {
    throw new UsageError(`attackInit "latest" is of attacks pgd and fast; ${values.attack} always begins anew`);
  }
  checkPrompts(model, options.concepts, "concept", true, method === "advunlearn" ? values.attackTokens! : 0);
  checkPrompts(model, retain, "retained prompt", false);
  if (options.concepts.length === 0) throw new UsageError("no concept is given");
  const anchors = options.anchors ?? options.concepts.map(() => values.anchor ?? "");
  if (anchors.length !== options.concepts.length) {
    throw new UsageError(`${anchors.length} anchors are given for ${options.concepts.length} concepts; give one for each`);
  }
  checkPrompts(model, anchors, "anchor", false);
  if (TRAJECTORY_METHODS.includes(method) && values.guidance! < 1) {
    throw new UsageError(`guidance must be at least 1 (no guidance), got ${values.guidance}`);
  }
  return {
    ...values, recipe: recipeName, published: recipe, retain,
    rule,
    concepts: options.concepts,
    anchors,
    latentSize: values.size === null ? model.defaultLatentSize : model.latentSize(values.size, values.size),
  };
}

function wrongFamily({ isXl, parts }: StableDiffusion, method: MethodName, recipe: RecipeName, fitting: readonly RecipeName[]): string {
  const others = METHODS.filter((m) => recipesOf(m, isXl ? "sdxl" : "sd").length > 0);
  const instead = fitting.length > 0 ? `recipe ${fitting.join(" or ")}` : `another method: ${others.join(", ")}`;
  const family = `${isXl ? "a" : "not a"} Stable Diffusion XL`;
  return `recipe ${recipe} of ${method} is not made for ${parts.name}, which is ${family}; choose ${instead}`;
}

function definedOf(options: UnlearnOptions): Given<typeof UNLEARN_OPTIONS> {
  return Object.fromEntries(
    Object.keys(UNLEARN_OPTIONS).flatMap((name) => {
      const value = (options as unknown as Readonly<Record<string, unknown>>)[name];
      return value === undefined || value === null ? [] : [[name, value]];
    }),
  );
}

/** @param more tokens that are put into each @throws UsageError for a prompt without a token, or with more than the text encoder takes */
function checkPrompts(model: StableDiffusion, prompts: readonly string[], what: string, needsTokens: boolean, more = 0): void {
  const limit = model.tokenizer.maxLength - 2 - more;
  for (const prompt of prompts) {
    const count = model.tokenizer.tokenize(prompt).length;
    if (count === 0 && needsTokens) throw new UsageError(`${what} ${JSON.stringify(prompt)} has no token: write it with letters or digits`);
    if (count > limit) {
      const taken = `begin and end${more > 0 ? ` and ${more} of the inner attack` : ""}`;
      throw new UsageError(`${what} ${JSON.stringify(prompt)} has ${count} tokens; the text encoder takes ${limit} besides ${taken}`);
    }
  }
}
