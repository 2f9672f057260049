import { readConfig, readDiffusersFolder, requireComponent, openWeights, variantFor, variantOf } from "../formats/diffusers.ts";
import { type FileSystem, joinPath } from "../formats/file-system.ts";
import { type ModelSource, isSynthetic } from "../formats/model-source.ts";
import { foldCopies, groupTensors } from "./names/groups.ts";
import type { PredictionType } from "./names/infer.ts";
import type { Component } from "./names/locate.ts";
import type { LowRankComponent } from "./names/low-rank.ts";
import { componentFile } from "./names/view.ts";
import { openTensorPath } from "../formats/open.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import type { Device } from "../runtime/device.ts";
import { InputError } from "../runtime/errors.ts";
import { Config } from "../nn/config.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { OpenComponent, OpenModel } from "./open-model.ts";
import type { OverlayOptions } from "./overlay.ts";
import { Parameters, type WeightSource } from "../nn/parameters.ts";
import type { WeightPrecision } from "../nn/weight-layout.ts";
import type { Transport } from "../diffusion/stable-diffusion.ts";
import { StableDiffusionPipeline } from "../diffusion/pipeline.ts";
import { loadTokenizer } from "../diffusion/tokenizer-folder.ts";
import { type TextEncoderConfig, textEncoderConfig } from "../diffusion/text-encoder.ts";
import { type UNetConfig, refiner, unetConfig } from "../diffusion/unet-config.ts";
import { vaeConfig } from "../diffusion/vae.ts";
import { weightSource } from "../nn/weight-source.ts";

/** A low-rank file (LoRA, SPM) to be merged into the weights. */
export interface LowRankFile {
  readonly file: string;
  /** Factor of the difference. Default 1, as trained. */
  readonly strength?: number | undefined;
}

export interface LoadOptions {
  /**
   * A file of UNet weights laid over the model's own: a whole state dict or only the tensors that differ, in diffusers' or the original
   * names, with whatever prefixes; a whole checkpoint, whose UNet is taken; or a low-rank file, which is merged.
   */
  readonly unet?: string | undefined;
  /** The same for the text encoder. */
  readonly textEncoder?: string | undefined;
  /** Low-rank files merged, in this order, into whatever of UNet and text encoder they are for, after the files above. */
  readonly lora?: readonly LowRankFile[] | undefined;
  /**
   * Averaged (EMA) UNet weights, of `unet` if that is given, else of the model; only files of the original code have them. Default false:
   * what was fine-tuned or unlearned is the plain weights.
   */
  readonly ema?: boolean | undefined;
  /** What the UNet predicts, if the model does not say or says it wrong. */
  readonly predictionType?: PredictionType | undefined;
  /**
   * For a single-file checkpoint: a folder in diffusers layout whose configurations, scheduler and tokenizer to use instead of what its
   * shapes tell.
   */
  readonly config?: string | undefined;
  /**
   * How big matrices are stored on the device. Default "f32". Of a folder's files with and without "fp16" in their names those that suit
   * are read.
   */
  readonly weights?: WeightPrecision | undefined;
  /** Told of files that do not suit but are all there is. */
  readonly onNote?: ((note: string) => void) | undefined;
  /** Told of what makes the model another than the published one. */
  readonly onWarning?: ((warning: string) => void) | undefined;
  /**
   * Open a folder that lacks a VAE or a tokenizer too: what is absent throws when it is first needed. Default: everything must be there.
   */
  readonly partial?: boolean | undefined;
  /** Stands between the UNet's file and the device, e.g. to scale some tensors. */
  readonly changeUNet?: ((weights: WeightSource) => WeightSource) | undefined;
}

/**
 * Opens a Stable Diffusion model: configurations, tokenizer and the headers of the weight files. Weights are read when a computation first
 * needs them, one tensor at a time.
 * @throws FormatError or InputError naming the file and what it looks like, and the tensor or field where there is one.
 */
export async function loadStableDiffusion(
  device: Device,
  source: ModelSource,
  options: LoadOptions = {},
): Promise<StableDiffusionPipeline> {
  const model = await openModel(source, options);
  const configs = { text: textEncoderConfig(model.textEncoder.config), unet: unetConfig(model.unet.config) };
  if (configs.unet.addition && !model.second) {
    throw new InputError(`${source.folder}: its UNet is one of Stable Diffusion XL, but there is no second text encoder (text_encoder_2)`);
  }
  const weights = await laidOver(source.files, model, configs, options);
  return assembled(device, model, configs, options.changeUNet ? { ...weights, unet: options.changeUNet(weights.unet) } : weights, options);
}

/** Opens the files of a folder, a checkpoint or a made-up model. @throws FormatError or InputError */
async function openModel({ files, folder, clipMerges }: ModelSource, options: LoadOptions): Promise<OpenModel> {
  const averaged = options.ema === true && options.unet === undefined;
  const synthetic = isSynthetic(folder);
  if (!synthetic && (await files.kind(folder)) === "file") {
    return (await import("./load-file.ts")).openSingleFile(files, folder, {
      ...options,
      ema: averaged,
      clipMerges,
      readTokenizer: (at, maxLength) => loadTokenizer(files, at, maxLength),
    });
  }
  const model = synthetic
    ? await (await import("./load-synthetic.ts")).openSynthetic(folder, clipMerges)
    : await openFolder(files, folder, options);
  if (averaged) {
    throw new InputError(
      `${folder}: a folder has no averaged (EMA) weights besides its own; they are kept in checkpoints of the original code`,
    );
  }
  if (options.config !== undefined) {
    throw new InputError(`${folder}: a folder of configurations (${options.config}) is for a checkpoint file; this model brings its own`);
  }
  return model;
}

interface Configs {
  readonly text: TextEncoderConfig;
  readonly unet: UNetConfig;
}

/** The weights that files may be laid over. */
interface Weights {
  readonly text: WeightSource;
  /** SDXL's second text encoder's. */
  readonly second: WeightSource | undefined;
  readonly unet: WeightSource;
  /** Of an SPM, laid over the UNet. */
  readonly transport?: Transport | undefined;
}

/** The model's weights with the options' files over them: the text encoder's, the UNet's, then low-rank ones in their order. */
async function laidOver(files: FileSystem, model: OpenModel, configs: Configs, options: LoadOptions): Promise<Weights> {
  const { layersPerBlock } = configs.unet;
  const layout = { layersPerBlock, textLayers: configs.text.layers };
  let weights: Weights = { text: model.textEncoder.weights, second: model.second?.weights, unet: model.unet.weights };
  if (options.textEncoder !== undefined) {
    const file = await openOverlay(files, options.textEncoder);
    const text = await overlaid(weights.text, file, { component: "text_encoder", layout, onNote: options.onNote });
    weights = { ...weights, text };
  }
  if (options.unet !== undefined) {
    const file = await openOverlay(files, options.unet);
    if ((await import("./method.ts")).isSpm(file)) {
      const { weights: unet, transport } = await (await import("./transport.ts")).transported(weights.unet, file, layersPerBlock);
      weights = { ...weights, unet, transport };
      options.onNote?.(
        `${file.name}: an eraser of SPM for ${transport.erased.map((prompt) => JSON.stringify(prompt)).join(", ")}; its strength is set ` +
          "for each prompt (facilitated transport)",
      );
    } else {
      const unet = await overlaid(weights.unet, file, { component: "unet", layout, ema: options.ema, onNote: options.onNote });
      weights = { ...weights, unet };
    }
  }
  for (const low of options.lora ?? []) weights = await withLowRank(files, weights, low, layersPerBlock, options.onWarning);
  return weights;
}

/** @throws FormatError or InputError if the file is none of low rank, or is for an encoder that the model does not have */
async function withLowRank(
  files: FileSystem,
  weights: Weights,
  { file, strength = 1 }: LowRankFile,
  layersPerBlock: UNetConfig["layersPerBlock"],
  onWarning: LoadOptions["onWarning"],
): Promise<Weights> {
  const { mergeLowRank } = await import("./low-rank.ts");
  const opened = await openTensorPath(files, file);
  const groups = await foldCopies(opened, groupTensors(opened));
  const xl = weights.second !== undefined;
  const merge = (base: WeightSource, component: LowRankComponent): Promise<WeightSource | undefined> =>
    mergeLowRank(base, opened, groups, { component, strength, layersPerBlock, xl });
  const [text, unet] = [await merge(weights.text, "text_encoder"), await merge(weights.unet, "unet")];
  const second = weights.second && (await merge(weights.second, "text_encoder_2"));
  if ((await import("./method.ts")).isSpm(opened)) {
    onWarning?.(
      `${file}: SPM's own strength depends on the prompt (facilitated transport); merged at a fixed strength this is not the ` +
        "published model",
    );
  }
  if (!xl && [...groups.lowRank.values()].some(({ component }) => component === "text_encoder_2")) {
    throw new InputError(`${file}: has modules for a second text encoder, which this model does not have: it is made for SDXL`);
  }
  if (!text && !unet && !second) {
    throw new InputError(
      `${file}: looks like ${(await import("./names/identify.ts")).identify(opened, groups).description}, not a low-rank file (LoRA) ` +
        "with named modules",
    );
  }
  return { ...weights, text: text ?? weights.text, second: second ?? weights.second, unet: unet ?? weights.unet };
}

/** The pipeline of what was opened; what may be absent throws when it is first needed. */
async function assembled(
  device: Device,
  model: OpenModel,
  configs: Configs,
  weights: Weights,
  { weights: precision, predictionType }: LoadOptions,
): Promise<StableDiffusionPipeline> {
  const { name, tokenizer } = model;
  const missing = (part: string) => (): never => {
    throw new InputError(`${name}: the model has no ${part}`);
  };
  const parameters = (component: string, source: WeightSource, stored = precision): Parameters =>
    new Parameters(component, device, source, stored);
  const vaeSettings = model.vae && vaeConfig(model.vae.config);
  // SDXL's VAE, whose numbers leave float16's range, has float32 weights whatever the others have.
  const vaePrecision = model.second && vaeSettings?.forceUpcast ? "f32" : precision;
  const vae = model.vae && vaeSettings
    ? { config: vaeSettings, parameters: parameters("vae", model.vae.weights, vaePrecision) }
    : lazy(
        { config: missing("vae") },
        { parameters: parameters("vae", { name, shape: () => undefined, names: () => [], readFloat32: missing("vae") }) },
      );
  const textEncoder = { config: configs.text, parameters: parameters("text_encoder", weights.text) };
  const unet = { config: configs.unet, parameters: parameters("unet", weights.unet) };
  const second =
    model.second &&
    (await import("./load-second.ts")).secondEncoder(
      model.second,
      textEncoder,
      configs.unet,
      tokenizer,
      parameters("text_encoder_2", weights.second!),
    );
  const scheduler = predictionType === undefined ? model.scheduler : { ...model.scheduler, prediction_type: predictionType };
  const parts = { device, name, vae, transport: weights.transport, textEncoder, second, unet, scheduler };
  return new StableDiffusionPipeline(tokenizer ? { ...parts, tokenizer } : lazy({ tokenizer: missing("tokenizer") }, parts));
}

async function overlaid(base: WeightSource, file: TensorFile, options: OverlayOptions): Promise<WeightSource> {
  return (await import("./overlay.ts")).overlayWeights(base, file, options);
}

/** @throws FormatError or InputError */
async function openOverlay(files: FileSystem, path: string): Promise<TensorFile> {
  const { overlayPath } = await import("./eraser.ts");
  return openTensorPath(files, await overlayPath(files, path));
}

/** A folder in diffusers layout. @throws FormatError or InputError */
async function openFolder(files: FileSystem, folder: string, { partial = false, weights, onNote }: LoadOptions): Promise<OpenModel> {
  const index = await readDiffusersFolder(files, folder);
  const open = async (name: Component): Promise<OpenComponent> => {
    const component = requireComponent(index, name);
    const config = Config.of(joinPath(component.folder, "config.json"), await readConfig(files, component.folder));
    const file = await openWeights(files, component.folder, variantFor(weights));
    const unsuited = unsuitedWeights(file, weights);
    if (unsuited) onNote?.(`${component.folder}: ${unsuited}`);
    // SDXL's second text encoder has transformers' names and uses its output projection, which is left over elsewhere.
    const group = name === "text_encoder_2" ? undefined : (await foldCopies(file, groupTensors(file))).components.get(name);
    return { config, weights: weightSource(group ? componentFile(file, group) : file) }; // names of older releases become today's
  };
  const absent = (name: Component | "tokenizer" | "tokenizer_2"): boolean => partial && !index.components.has(name);
  if (index.components.has("text_encoder_2") && !index.components.has("text_encoder")) throw refiner(folder);
  const textEncoder = await open("text_encoder");
  const openTokenizer = (name: string): Promise<Tokenizer> =>
    loadTokenizer(files, requireComponent(index, name).folder, textEncoderConfig(textEncoder.config).maxLength);
  return {
    name: folder,
    textEncoder,
    second: index.components.has("text_encoder_2")
      ? {
          ...(await open("text_encoder_2")),
          tokenizer: absent("tokenizer_2") ? undefined : await openTokenizer("tokenizer_2"),
          zerosForNoPrompt: index.index["force_zeros_for_empty_prompt"] !== false,
        }
      : undefined,
    unet: await open("unet"),
    vae: absent("vae") ? undefined : await open("vae"),
    scheduler: await readConfig(files, requireComponent(index, "scheduler").folder),
    tokenizer: absent("tokenizer") ? undefined : await openTokenizer("tokenizer"),
  };
}

/** What to say of weights that are not of the precision asked for; undefined if they are. */
function unsuitedWeights({ name, entries }: TensorFile, weights: WeightPrecision = "f32"): string | undefined {
  const variant = variantOf(name);
  if (weights === "f32") {
    return variant === "fp16" || variant === "bf16" ? `has ${variant} files only; they are read as they are` : undefined;
  }
  return [...entries.values()].some(({ dtype }) => dtype === "F32") ? "has no fp16 files; the full ones are read and rounded" : undefined;
}

/** `plain` with getters that are called when a property is asked for. */
function lazy<G extends Readonly<Record<string, () => unknown>>, P extends object>(
  getters: G,
  plain: P,
): P & { readonly [K in keyof G]: ReturnType<G[K]> } {
  const properties = Object.fromEntries(Object.entries(getters).map(([name, get]) => [name, { get, enumerable: true }]));
  return Object.defineProperties({ ...plain }, properties) as P & { readonly [K in keyof G]: ReturnType<G[K]> };
}
