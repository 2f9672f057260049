/**
 * A Stable Diffusion model in one file: the original code's `.ckpt` or `.safetensors`, with configurations from its shapes or from a
 * folder.
 */
import { type Tokenizer, createClipTokenizer } from "../../tokenizer/index.ts";
import { readConfig } from "../formats/diffusers.ts";
import { FormatError } from "../formats/errors.ts";
import { type FileSystem, joinPath } from "../formats/file-system.ts";
import { type Groups, componentName, foldCopies, groupTensors } from "./names/groups.ts";
import { type Identity, identify } from "./names/identify.ts";
import {
  type Json,
  type PredictionType,
  XL_VAE,
  inferPredictionType,
  inferSecondTextConfig,
  inferTextConfig,
  inferUNetConfig,
  inferVaeConfig,
  schedulerConfig,
  xlSchedulerConfig,
} from "./names/infer.ts";
import type { Component } from "./names/locate.ts";
import { type Layout, componentFile } from "./names/view.ts";
import { openTensorPath } from "../formats/open.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import { InputError } from "../runtime/errors.ts";
import { Config } from "../nn/config.ts";
import { expectedTensors, withoutUnitKernel } from "./expected.ts";
import { type OpenComponent, type OpenModel, SECOND_PAD } from "./open-model.ts";
import { chooseEma, noAveraged } from "./overlay.ts";
import { type TextEncoderConfig, textEncoderConfig } from "../diffusion/text-encoder.ts";
import { type UNetConfig, refiner, unetConfig } from "../diffusion/unet-config.ts";
import { vaeConfig } from "../diffusion/vae.ts";
import { weightSource } from "../nn/weight-source.ts";

export interface SingleFileOptions {
  /**
   * A folder with the model's configurations in diffusers' layout (unet/config.json and so on, scheduler, tokenizer), in place of inferred
   * ones; each may be absent.
   */
  readonly config?: string | undefined;
  /** Take averaged (EMA) UNet weights. Default false. */
  readonly ema?: boolean | undefined;
  readonly predictionType?: PredictionType | undefined;
  /** Bytes of CLIP's `bpe_simple_vocab_16e6.txt.gz`. */
  readonly clipMerges?: (() => Promise<Uint8Array<ArrayBuffer>>) | undefined;
  /** Whether the VAE and the tokenizer may be missing. */
  readonly partial?: boolean | undefined;
  readonly readTokenizer: (folder: string, maxLength: number) => Promise<Tokenizer>;
}

/** The vocabulary that CLIP's own merges make. */
const CLIP_VOCABULARY = 49408;

/**
 * Opens a single-file checkpoint. Names may be the original code's or diffusers'.
 * @throws FormatError or InputError saying what the file looks like if it is not a whole model, which tensors are missing or of another
 * shape than the configuration says.
 */
export async function openSingleFile(files: FileSystem, path: string, options: SingleFileOptions): Promise<OpenModel> {
  const file = await openTensorPath(files, path);
  try {
    return await openModel(files, path, file, options);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** An open checkpoint file, what its tensors are, and what was asked for. */
interface Checkpoint {
  readonly files: FileSystem;
  readonly path: string;
  readonly file: TensorFile;
  readonly groups: Groups;
  readonly identity: Identity;
  readonly options: SingleFileOptions;
}

async function openModel(files: FileSystem, path: string, file: TensorFile, options: SingleFileOptions): Promise<OpenModel> {
  const groups = await foldCopies(file, groupTensors(file));
  const identity = identify(file, groups);
  requireModel(path, identity);
  if (options.ema === true && groups.ema.size === 0) throw noAveraged(file, groups);
  const checkpoint = { files, path, file, groups, identity, options };
  const xl = identity.version === "SDXL";
  let prediction = options.predictionType;
  const unet = await openComponent(checkpoint, "unet", (c) => ({ layersPerBlock: unetConfig(c).layersPerBlock }), async (tensors) => {
    prediction ??= await inferPredictionType(file, tensors);
    return inferUNetConfig(tensors, xl ? 128 : prediction === "v_prediction" ? 96 : 64); // 1024 pixels, 768 and 512
  });
  const textLayout = (config: Config): Layout => ({ textLayers: textEncoderConfig(config).layers });
  const textEncoder = await openComponent(checkpoint, "text_encoder", textLayout, inferTextConfig);
  const text = textEncoderConfig(textEncoder.config);
  const second = xl ? await openComponent(checkpoint, "text_encoder_2", textLayout, inferSecondTextConfig) : undefined;
  requireFitting(path, unetConfig(unet.config), xl ? undefined : text);
  const hasVae = groups.components.has("vae") || options.partial !== true;
  const vaeLayout = (config: Config): Layout => ({ vaeLevels: vaeConfig(config).blockOutChannels.length });
  const vae = hasVae
    ? await openComponent(checkpoint, "vae", vaeLayout, (t) => ({ ...inferVaeConfig(t), ...(xl && XL_VAE) }))
    : undefined;
  const schedulerFolder = await configFolder(checkpoint, "scheduler");
  const scheduler =
    schedulerFolder === undefined
      ? (xl ? xlSchedulerConfig : schedulerConfig)(
          prediction ?? (await inferPredictionType(file, componentFile(file, groups.components.get("unet")!))),
        )
      : await readConfig(files, schedulerFolder);
  const tokenizer = await openTokenizer(checkpoint, "tokenizer", text);
  const whole = { name: path, unet, textEncoder, vae, tokenizer, scheduler };
  if (!second) return whole;
  const other = await openTokenizer(checkpoint, "tokenizer_2", text, SECOND_PAD);
  return { ...whole, second: { ...second, tokenizer: other, zerosForNoPrompt: true } };
}

/** @throws InputError for a file that is no model, or one of a family that is not supported */
function requireModel(path: string, { kind, description, version }: Identity): void {
  if (kind !== "checkpoint" && kind !== "unet") throw new InputError(`${path}: looks like ${description}, not a model`);
  if (version === "SDXL refiner") throw refiner(path);
  if (version === "SD 2.x unCLIP") {
    throw new InputError(`${path}: looks like ${description}; supported are Stable Diffusion 1.x, 2.x and XL`);
  }
}

/**
 * @param text the one text encoder; SDXL's two are compared when the model is put together
 * @throws InputError for a UNet that attends to encodings of another width or takes more than the latents' channels
 */
function requireFitting(path: string, unet: UNetConfig, text: TextEncoderConfig | undefined): void {
  if (text && text.hiddenSize !== unet.crossAttentionDim) {
    throw new InputError(`${path}: its text encoder is ${text.hiddenSize} wide, its UNet attends to ${unet.crossAttentionDim}`);
  }
  const latents = unet.inChannels;
  if (latents !== 4) {
    throw new InputError(
      `${path}: its UNet takes ${latents} channels, not 4${latents === 9 ? ": it is an inpainting model, which is not supported" : ""}`,
    );
  }
}

/** The folder of one part in the folder of configurations; undefined where none was given or it has no such part. */
async function configFolder({ files, options: { config } }: Checkpoint, part: string): Promise<string | undefined> {
  const folder = config === undefined ? undefined : joinPath(config, part);
  return folder !== undefined && (await files.kind(folder)) === "folder" ? folder : undefined;
}

/**
 * One component with its configuration, which is read where a folder was given, else made from its shapes.
 * @throws InputError if the file does not hold it whole
 */
async function openComponent(
  checkpoint: Checkpoint,
  name: Component,
  layoutOf: (config: Config) => Layout,
  infer: (tensors: TensorFile) => Promise<Json> | Json,
): Promise<OpenComponent> {
  const { files, path, file, groups, identity: { kind, description }, options } = checkpoint;
  const group = chooseEma(groups, name, options.ema ?? false);
  if (!group) {
    throw new InputError(
      `${path}: holds no ${componentName(name)}; it looks like ` +
        `${description}${kind === "unet" ? ": give a whole model, and this file as its UNet" : ""}`,
    );
  }
  const folder = await configFolder(checkpoint, name);
  const known = folder === undefined ? undefined : Config.of(joinPath(folder, "config.json"), await readConfig(files, folder));
  const tensors = componentFile(file, group, known && layoutOf(known));
  const config = known ?? Config.of(`${path} (${componentName(name)} by its shapes)`, await infer(tensors));
  requireWhole(tensors, name, config);
  return { config, weights: weightSource(tensors) };
}

/** The tokenizer of the folder of configurations, else CLIP's own; undefined only where a model may be partial. */
async function openTokenizer(
  checkpoint: Checkpoint,
  part: "tokenizer" | "tokenizer_2",
  text: TextEncoderConfig,
  padId?: number,
): Promise<Tokenizer | undefined> {
  const { path, options: { clipMerges, partial, readTokenizer } } = checkpoint;
  const folder = await configFolder(checkpoint, part);
  if (folder !== undefined) return readTokenizer(folder, text.maxLength);
  return partial === true && !standsIn(text, clipMerges) ? undefined : builtInTokenizer(path, text, clipMerges, padId);
}

/**
 * The tokenizer of a file that holds a text encoder, which tells how long a prompt may be; nothing else need be in it.
 * @throws FormatError or InputError saying what the file looks like if it holds none, or if CLIP's vocabulary cannot stand in
 */
export async function openFileTokenizer(files: FileSystem, path: string, clipMerges: SingleFileOptions["clipMerges"]): Promise<Tokenizer> {
  const file = await openTensorPath(files, path);
  try {
    const groups = await foldCopies(file, groupTensors(file));
    const group = groups.components.get("text_encoder");
    if (!group) {
      throw new InputError(
        `${path}: holds no ${componentName("text_encoder")}, so there is nothing to tokenize for; it looks like ` +
          `${identify(file, groups).description}`,
      );
    }
    const config = Config.of(`${path} (${componentName("text_encoder")} by its shapes)`, await inferTextConfig(componentFile(file, group)));
    return await builtInTokenizer(path, textEncoderConfig(config), clipMerges);
  } finally {
    await file.close();
  }
}

/** @throws InputError naming the first missing tensors, or one of another shape. */
function requireWhole(tensors: TensorFile, component: Component, config: Config): void {
  const missing: string[] = [];
  for (const [name, shape] of expectedTensors(component, config)) {
    const entry = tensors.entries.get(name);
    if (!entry) missing.push(name);
    else if (withoutUnitKernel(entry.shape).join() !== withoutUnitKernel(shape).join()) {
      throw new InputError(
        `${tensors.name}: tensor "${name}" has shape [${entry.shape.join(",")}], by ${config.file} it should be [${shape.join(",")}]`,
      );
    }
  }
  if (missing.length > 0) {
    throw new InputError(
      `${tensors.name}: its ${componentName(component)} lacks ${missing.length} tensors, e.g. ${missing.slice(0, 3).join(", ")}; the ` +
        "file is not a whole model",
    );
  }
}

/** Whether CLIP's own tokenizer can be a text encoder's. */
function standsIn(
  { vocabularySize }: Pick<TextEncoderConfig, "vocabularySize">,
  clipMerges: SingleFileOptions["clipMerges"],
): clipMerges is NonNullable<typeof clipMerges> {
  return vocabularySize === CLIP_VOCABULARY && clipMerges !== undefined;
}

/** CLIP's own tokenizer; Stable Diffusion 2 and SDXL's second encoder pad with id 0. @throws FormatError if it cannot stand in */
async function builtInTokenizer(
  path: string,
  text: Pick<TextEncoderConfig, "vocabularySize" | "maxLength" | "hiddenSize">,
  clipMerges: SingleFileOptions["clipMerges"],
  padId = text.hiddenSize === 1024 ? 0 : undefined,
): Promise<Tokenizer> {
  if (standsIn(text, clipMerges)) {
    return createClipTokenizer(await clipMerges(), { maxLength: text.maxLength, ...(padId !== undefined && { padId }) });
  }
  const why = clipMerges
    ? `its vocabulary has ${text.vocabularySize} tokens, not CLIP's ${CLIP_VOCABULARY}`
    : "CLIP's merge list (bpe_simple_vocab_16e6.txt.gz) was not given";
  throw new FormatError(
    path,
    `has no tokenizer, and CLIP's own cannot stand in: ${why}; give a folder with the model's tokenizer and configurations`,
  );
}
