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
import { textEncoderConfig } from "../diffusion/text-encoder.ts";
import { refiner, unetConfig } from "../diffusion/unet-config.ts";
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
  const { files, folder } = source;
  const synthetic = isSynthetic(folder);
  const single = !synthetic && (await files.kind(folder)) === "file";
  const model = synthetic
    ? await (await import("./load-synthetic.ts")).openSynthetic(folder, source.clipMerges)
    : single
      ? await (
          await import("./load-file.ts")
        ).openSingleFile(files, folder, {
          ...options,
          ema: options.ema === true && options.unet === undefined,
          clipMerges: source.clipMerges,
          readTokenizer: (at, maxLength) => loadTokenizer(files, at, maxLength),
        })
      : await openFolder(files, folder, options);
  if (options.ema === true && !single && options.unet === undefined) {
    throw new InputError(
      `${folder}: a folder has no averaged (EMA) weights besides its own; they are kept in checkpoints of the original code`,
    );
  }
  if (options.config !== undefined && !single) {
    throw new InputError(`${folder}: a folder of configurations (${options.config}) is for a checkpoint file; this model brings its own`);
  }
  const textConfig = textEncoderConfig(model.textEncoder.config);
  const noiseConfig = unetConfig(model.unet.config);
  if (noiseConfig.addition && !model.second) {
    throw new InputError(`${folder}: its UNet is one of Stable Diffusion XL, but there is no second text encoder (text_encoder_2)`);
  }
  const layout = { layersPerBlock: noiseConfig.layersPerBlock, textLayers: textConfig.layers };
  let textWeights = model.textEncoder.weights;
  let secondWeights = model.second?.weights;
  let noiseWeights = model.unet.weights;
  if (options.textEncoder !== undefined) {
    textWeights = await overlaid(textWeights, await openOverlay(files, options.textEncoder), {
      component: "text_encoder",
      layout,
      onNote: options.onNote,
    });
  }
  let transport: Transport | undefined;
  if (options.unet !== undefined) {
    const file = await openOverlay(files, options.unet);
    if ((await import("./method.ts")).isSpm(file)) {
      ({ weights: noiseWeights, transport } = await (
        await import("./transport.ts")
      ).transported(noiseWeights, file, noiseConfig.layersPerBlock));
    } else {
      noiseWeights = await overlaid(noiseWeights, file, { component: "unet", layout, ema: options.ema, onNote: options.onNote });
    }
    if (transport) {
      options.onNote?.(
        `${file.name}: an eraser of SPM for ${transport.erased.map((prompt) => JSON.stringify(prompt)).join(", ")}; its strength is set ` +
          "for each prompt (facilitated transport)",
      );
    }
  }
  for (const { file, strength = 1 } of options.lora ?? []) {
    const { mergeLowRank } = await import("./low-rank.ts");
    const opened = await openTensorPath(files, file);
    const groups = await foldCopies(opened, groupTensors(opened));
    const xl = model.second !== undefined;
    const merge = (base: WeightSource, component: LowRankComponent): Promise<WeightSource | undefined> =>
      mergeLowRank(base, opened, groups, { component, strength, layersPerBlock: noiseConfig.layersPerBlock, xl });
    const [text, noise] = [await merge(textWeights, "text_encoder"), await merge(noiseWeights, "unet")];
    const second = secondWeights && (await merge(secondWeights, "text_encoder_2"));
    if ((await import("./method.ts")).isSpm(opened)) {
      options.onWarning?.(
        `${file}: SPM's own strength depends on the prompt (facilitated transport); merged at a fixed strength this is not the ` +
          "published model",
      );
    }
    if (!xl && [...groups.lowRank.values()].some(({ component }) => component === "text_encoder_2")) {
      throw new InputError(`${file}: has modules for a second text encoder, which this model does not have: it is made for SDXL`);
    }
    if (!text && !noise && !second) {
      throw new InputError(
        `${file}: looks like ${(await import("./names/identify.ts")).identify(opened, groups).description}, not a low-rank file (LoRA) ` +
          "with named modules",
      );
    }
    textWeights = text ?? textWeights;
    secondWeights = second ?? secondWeights;
    noiseWeights = noise ?? noiseWeights;
  }
  if (options.changeUNet) noiseWeights = options.changeUNet(noiseWeights);
  const missing = (name: string) => (): never => {
    throw new InputError(`${folder}: the model has no ${name}`);
  };
  const parameters = (name: string, weights: WeightSource, precision = options.weights): Parameters =>
    new Parameters(name, device, weights, precision);
  const vaeSettings = model.vae && vaeConfig(model.vae.config);
  // SDXL's VAE, whose numbers leave float16's range, has float32 weights whatever the others have.
  const vaePrecision = model.second && vaeSettings?.forceUpcast ? "f32" : options.weights;
  const vae = model.vae && vaeSettings
    ? { config: vaeSettings, parameters: parameters("vae", model.vae.weights, vaePrecision) }
    : lazy(
        { config: missing("vae") },
        { parameters: parameters("vae", { name: folder, shape: () => undefined, names: () => [], readFloat32: missing("vae") }) },
      );
  const textEncoder = { config: textConfig, parameters: parameters("text_encoder", textWeights) };
  const second =
    model.second &&
    (await import("./load-second.ts")).secondEncoder(
      model.second,
      textEncoder,
      noiseConfig,
      model.tokenizer,
      parameters("text_encoder_2", secondWeights!),
    );
  const parts = {
    device, name: folder, vae, transport, textEncoder, second,
    unet: { config: noiseConfig, parameters: parameters("unet", noiseWeights) },
    scheduler: options.predictionType === undefined ? model.scheduler : { ...model.scheduler, prediction_type: options.predictionType },
  };
  return new StableDiffusionPipeline(
    model.tokenizer ? { ...parts, tokenizer: model.tokenizer } : lazy({ tokenizer: missing("tokenizer") }, parts),
  );
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
