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
  /** Open a folder that lacks a VAE or a tokenizer too: what is absent throws when it is first needed. Default: everything must be there. */
  readonly partial?: boolean | undefined;
  /** Stands between the UNet's file and the device, e.g. to scale some tensors. */
  readonly changeUNet?: ((weights: WeightSource) => WeightSource) | undefined;
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
    const own = overlay === undefined ? base : overlayWeights(base, await openTensorPath(files, overlay), name);
    const weights = name === "unet" && options.changeUNet ? options.changeUNet(own) : own;
    return { config, parameters: new Parameters(name, device, weights, options.weights) };
  };
  const absent = (name: string): boolean => options.partial === true && !index.components.has(name);
  const missing = (name: string) => (): never => {
    throw new InputError(`${folder}: the model has no ${name}`);
  };
  const [text, noise] = await Promise.all([part("text_encoder", options.textEncoder), part("unet", options.unet)]);
  const vae = absent("vae") ? undefined : await part("vae");
  const vaeParts = vae
    ? { config: vaeConfig(vae.config), parameters: vae.parameters }
    : lazy({ config: missing("vae") }, { parameters: new Parameters("vae", device, { name: folder, shape: () => undefined, names: () => [], readFloat32: missing("vae") }) });
  const textConfig = textEncoderConfig(text.config);
  const parts = {
    device,
    name: folder,
    textEncoder: { config: textConfig, parameters: text.parameters },
    unet: { config: unetConfig(noise.config), parameters: noise.parameters },
    vae: vaeParts,
    scheduler: await readConfig(files, requireComponent(index, "scheduler").folder),
  };
  if (absent("tokenizer")) return new StableDiffusion(lazy({ tokenizer: missing("tokenizer") }, parts));
  return new StableDiffusion({ ...parts, tokenizer: await loadTokenizer(files, requireComponent(index, "tokenizer").folder, textConfig.maxLength) });
}

/** `plain` with getters that are called when a property is asked for. */
function lazy<G extends Readonly<Record<string, () => unknown>>, P extends object>(getters: G, plain: P): P & { readonly [K in keyof G]: ReturnType<G[K]> } {
  const properties = Object.fromEntries(Object.entries(getters).map(([name, get]) => [name, { get, enumerable: true }]));
  return Object.defineProperties({ ...plain }, properties) as P & { readonly [K in keyof G]: ReturnType<G[K]> };
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
    close: () => file.close(),
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
    async close() {
      await Promise.all([file.close(), base.close?.()]);
    },
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
