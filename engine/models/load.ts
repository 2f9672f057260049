import { type Tokenizer, createTokenizer } from "../../tokenizer/index.ts";
import { readConfig, readDiffusersFolder, readOptionalConfig, requireComponent, openWeights } from "../formats/diffusers.ts";
import { type FileSystem, joinPath, readJsonFile, readTextFile } from "../formats/file-system.ts";
import { openTensorPath } from "../formats/open.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import type { Device } from "../runtime/device.ts";
import { InputError } from "../runtime/errors.ts";
import { Config } from "./config.ts";
import { Parameters, type WeightPrecision, type WeightSource } from "./parameters.ts";
import { StableDiffusion } from "./stable-diffusion.ts";
import { textEncoderConfig } from "./text-encoder.ts";
import { unetConfig } from "./unet.ts";
import { vaeConfig } from "./vae.ts";

/** A model folder in diffusers layout, somewhere. */
export interface ModelSource {
  readonly files: FileSystem;
  readonly folder: string;
}

export interface LoadOptions {
  /** A file of UNet weights laid over the model's own: a whole state dict or only the tensors that differ. */
  readonly unet?: string | undefined;
  /** The same for the text encoder. */
  readonly textEncoder?: string | undefined;
  /** How big matrices are stored on the device. Default "f32". */
  readonly weights?: WeightPrecision | undefined;
}

/**
 * Opens a Stable Diffusion model: configurations, tokenizer and the headers of the weight files. Weights are read when a computation first needs them.
 * @throws FormatError or InputError naming the file, and the tensor or field where there is one.
 */
export async function loadStableDiffusion(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<StableDiffusion> {
  const { files, folder } = source;
  const index = await readDiffusersFolder(files, folder);
  const part = async (name: string, overlay?: string): Promise<{ config: Config; parameters: Parameters }> => {
    const component = requireComponent(index, name);
    const config = Config.of(joinPath(component.folder, "config.json"), await readConfig(files, component.folder));
    const base = weightSource(await openWeights(files, component.folder));
    const weights = overlay === undefined ? base : overlayWeights(base, await openTensorPath(files, overlay), name);
    return { config, parameters: new Parameters(name, device, weights, options.weights) };
  };
  const [text, noise, vae] = await Promise.all([part("text_encoder", options.textEncoder), part("unet", options.unet), part("vae")]);
  const textConfig = textEncoderConfig(text.config);
  return new StableDiffusion({
    device,
    name: folder,
    tokenizer: await loadTokenizer(files, requireComponent(index, "tokenizer").folder, textConfig.maxLength),
    textEncoder: { config: textConfig, parameters: text.parameters },
    unet: { config: unetConfig(noise.config), parameters: noise.parameters },
    vae: { config: vaeConfig(vae.config), parameters: vae.parameters },
    scheduler: await readConfig(files, requireComponent(index, "scheduler").folder),
  });
}

/** The tokenizer of a folder with vocab.json and merges.txt. @throws FormatError, TokenizerError */
export async function loadTokenizer(files: FileSystem, folder: string, maxLength?: number): Promise<Tokenizer> {
  return createTokenizer({
    vocabulary: (await readJsonFile(files, joinPath(folder, "vocab.json"))) as Record<string, number>,
    merges: await readTextFile(files, joinPath(folder, "merges.txt")),
    config: await readOptionalConfig(files, folder, "tokenizer_config.json"),
    specialTokens: await readOptionalConfig(files, folder, "special_tokens_map.json"),
    maxLength,
  });
}

/** A tensor file as the weights of a component. */
export function weightSource(file: TensorFile): WeightSource {
  return {
    name: file.name,
    shape: (tensor) => file.entries.get(tensor)?.shape,
    names: () => file.entries.keys(),
    readFloat32: (tensor) => file.readFloat32(tensor),
  };
}

/** Prefixes that published state dicts put before every name. */
const PREFIXES = ["module.", "unet.", "text_encoder.", "model."];

/**
 * `base` with the tensors of `file` in place of its own.
 * @throws InputError if a tensor of the file is not one of the base's, or has another shape.
 */
export function overlayWeights(base: WeightSource, file: TensorFile, component: string): WeightSource {
  const renamed = new Map<string, string>();
  for (const [name, entry] of file.entries) {
    const plain = plainName(name, base);
    if (plain === undefined) throw new InputError(`${file.name}: tensor "${name}" is none of this ${component}'s; is it made for another model?`);
    const expected = base.shape(plain)!;
    if (entry.shape.join() !== expected.join()) throw new InputError(`${file.name}: tensor "${name}" has shape [${entry.shape.join(",")}], the ${component} of this model has [${expected.join(",")}]`);
    renamed.set(plain, name);
  }
  if (renamed.size === 0) throw new InputError(`${file.name}: holds no tensors`);
  return {
    name: `${file.name} over ${base.name}`,
    shape: (tensor) => base.shape(tensor),
    names: () => base.names(),
    readFloat32: (tensor) => (renamed.has(tensor) ? file.readFloat32(renamed.get(tensor)!) : base.readFloat32(tensor)),
  };
}

/** A name as the base has it, with any prefixes taken off; undefined if it has none such. */
function plainName(name: string, base: WeightSource): string | undefined {
  let rest = name;
  for (;;) {
    if (base.shape(rest)) return rest;
    const prefix = PREFIXES.find((p) => rest.startsWith(p));
    if (prefix === undefined) return undefined;
    rest = rest.slice(prefix.length);
  }
}
