import type { Command } from "commander";
import { requireTextToImage } from "../engine/loading/check-weights.ts";
import { readConfig, readDiffusersFolder, requireComponent, variantFor } from "../engine/formats/diffusers.ts";
import { loadStableDiffusion } from "../engine/loading/load.ts";
import { overlayPath } from "../engine/loading/eraser.ts";
import { nodeFiles } from "../engine/platform/node-files.ts";
import { type RunWork, estimateRun, fitRun } from "../engine/diffusion/estimate-run.ts";
import type { StableDiffusionPipeline } from "../engine/diffusion/pipeline.ts";
import type { StableDiffusion } from "../engine/diffusion/stable-diffusion.ts";
import type { Context } from "./context.ts";
import { MODEL_OPTIONS, type ModelOptions, givenModelFlags, parseLora } from "../engine/run/settings/model-options.ts";
import { resolvePath } from "../engine/platform/model-source-node.ts";
import { formatBytes } from "../engine/run/text/format.ts";
import type { pngTexts } from "../engine/run/text/png-texts.ts";
import { addOptions } from "./option-flags.ts";
import { type DownloadContext, MODEL_NAMES, type Wanted, resolveModel, resolveWeights } from "./model-source.ts";
import { joinPath } from "../engine/formats/file-system.ts";
import { Config } from "../engine/nn/config.ts";
import { openFileTokenizer } from "../engine/loading/load-file.ts";
import { isSynthetic } from "../engine/formats/model-source.ts";
import { openSynthetic } from "../engine/loading/load-synthetic.ts";
import { loadTokenizer } from "../engine/diffusion/tokenizer-folder.ts";
import { textEncoderConfig } from "../engine/diffusion/text-encoder.ts";
import type { Tokenizer } from "../tokenizer/index.ts";

/** The flags that say which model. */
export function addModelOptions(command: Command): Command {
  return addOptions(command.requiredOption("--model <model>", MODEL_NAMES), MODEL_OPTIONS);
}

/** A file or folder of a model. */
export interface ModelPart {
  readonly role: string;
  readonly path: string;
  /** Which of a folder's weights were read: as for `findWeights`. */
  readonly variant?: string | undefined;
}

/** The files that the flags name besides the model, each with what it is to it. */
export async function overlayFiles(
  options: ModelOptions,
  context: DownloadContext,
): Promise<ModelPart[]> {
  const named: [string, string][] = [];
  if (typeof options.unet === "string") named.push(["unet overlay", options.unet]);
  if (typeof options.textEncoder === "string") named.push(["text_encoder overlay", options.textEncoder]);
  if (typeof options.lora === "string") named.push(...parseLora(options.lora).map(({ file }): [string, string] => ["lora", file]));
  return Promise.all(
    named.map(async ([role, name]) => ({ role, path: await overlayPath(nodeFiles, await resolveWeights(name, context)) })),
  );
}

/** Which of a model's weight files suit --weights, for `resolveModel`. */
export function suitedTo({ options }: Context): Wanted {
  return { variant: variantFor(options.weights) };
}

/** A model with the files that it came from, for the record. */
export interface OpenedModel {
  readonly model: StableDiffusionPipeline;
  readonly files: readonly ModelPart[];
}

/** `openModel`, and what it read. @throws as that */
export async function openWithFiles(context: Context, options: ModelOptions): Promise<OpenedModel> {
  const model = await openModel(context, options);
  const wanted = suitedTo(context); // after it: opening a model may decide --weights
  const { folder } = await resolveModel(options.model, context, wanted);
  return { model, files: [{ role: "model", path: folder, variant: wanted.variant }, ...(await overlayFiles(options, context))] };
}

/** What a picture's texts say of where it comes from. */
export function originOf(
  { options }: Context,
  { device }: StableDiffusion,
  { embedding, ...flags }: ModelOptions & { readonly embedding?: readonly string[] },
): Parameters<typeof pngTexts>[2] {
  const weights = options.weights ?? "f32";
  return { model: flags.model, ...givenModelFlags(flags), ...(embedding && { embedding }), weights, adapter: device.description };
}

/** Shown below the options of commands that take paths. */
export const PATHS_NOTE =
  '\nA path that begins with "emoji/" and is not found here is looked up in the bundled model, e.g. ' +
    'emoji/unlearned/esd-x-church/ESDx-church-UNet.pt.';

/**
 * Opens the model that the flags name on the context's device; a hub model is downloaded first. Where --weights is not given, a model
 * larger than the device's memory has its weights as halves.
 * @throws FormatError, InputError, UsageError, HubError, NoAdapterError
 */
export async function openModel(context: Context, options: ModelOptions): Promise<StableDiffusionPipeline> {
  const device = await context.device(); // first: without an adapter there is no use for gigabytes of weights
  const weights = async (name: string | null | undefined): Promise<string | undefined> =>
    typeof name === "string" ? resolveWeights(name, context) : undefined;
  const { lora, ema, predictionType, config } = options;
  const source = () => resolveModel(options.model, context, suitedTo(context));
  const open = async (): Promise<StableDiffusionPipeline> => loadStableDiffusion(device, await source(), {
    unet: await weights(options.unet),
    textEncoder: await weights(options.textEncoder),
    lora: await Promise.all(
      parseLora(lora ?? "")
        .filter(({ file }) => file !== "")
        .map(async ({ file, strength }) => ({ file: await resolveWeights(file, context), strength })),
    ),
    ema: ema ?? false,
    predictionType: predictionType ?? undefined,
    config: typeof config === "string" ? resolvePath(config) : undefined,
    weights: context.options.weights,
    onNote: (note) => context.say(note),
    onWarning: (warning) => context.warn(warning),
  });
  let model = await open();
  requireTextToImage(model);
  if (context.options.weights === undefined && device.memoryLimit < Infinity) {
    const { weightBytes } = estimateRun(model, wholeWork(model));
    if (weightBytes > device.memoryLimit) {
      const [bytes, limit] = [weightBytes, device.memoryLimit].map(formatBytes);
      context.say(`weights are stored as halves: as float32 they take ${bytes}, and the device has ${limit}; --weights f32 keeps them`);
      context.decideWeights("f16");
      await model.destroy();
      model = await open();
    }
  }
  // A command that knows its work better plans again, before a weight is loaded.
  if (context.options.offload) fitRun(model, wholeWork(model), true);
  return model;
}

/** All that may be done with a model at its own size. */
function wholeWork(model: StableDiffusionPipeline): RunWork {
  const { factor } = model.parts.vae.config;
  const [height, width] = model.defaultLatentSize.map((n) => n * factor) as [number, number];
  return { width, height, rows: 2, pictures: 1, attackRows: 1 };
}

/**
 * The tokenizer of a model folder, cut to the length its text encoder takes; of a checkpoint file CLIP's own, as loading takes it. @throws
 * FormatError, InputError, TokenizerError
 */
export async function openTokenizer(model: string, context: Context): Promise<Tokenizer> {
  const { files, folder, clipMerges } = await resolveModel(model, context, { components: ["text_encoder", "tokenizer"], weights: false });
  if (isSynthetic(folder)) {
    const { tokenizer } = await openSynthetic(folder, clipMerges);
    return tokenizer!; // the merge list is there
  }
  if ((await files.kind(folder)) === "file") return openFileTokenizer(files, folder, clipMerges);
  const index = await readDiffusersFolder(files, folder);
  const text = requireComponent(index, "text_encoder").folder;
  const { maxLength } = textEncoderConfig(Config.of(joinPath(text, "config.json"), await readConfig(files, text)));
  return loadTokenizer(files, requireComponent(index, "tokenizer").folder, maxLength);
}
