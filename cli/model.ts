import { type Command, InvalidArgumentError, Option } from "commander";
import { variantFor } from "../engine/formats/diffusers.ts";
import type { PredictionType } from "../engine/loading/names/infer.ts";
import { loadStableDiffusion } from "../engine/loading/load.ts";
import { overlayPath } from "../engine/loading/eraser.ts";
import { nodeFiles } from "../engine/platform/node-files.ts";
import type { StableDiffusion } from "../engine/diffusion/stable-diffusion.ts";
import type { Context } from "./context.ts";
import { type ModelOptions, parseLora } from "../engine/run/model-flags.ts";
import { resolvePath } from "../engine/platform/model-source-node.ts";
import { type DownloadContext, MODEL_NAMES, type Wanted, resolveModel, resolveWeights } from "./model-source.ts";

const PREDICTION_TYPES = ["epsilon", "v_prediction"] as const satisfies readonly PredictionType[];

/** @param required false for commands that can take the model from an earlier run */
export function addModelOptions(command: Command, required = true): Command {
  const model = new Option("--model <model>", MODEL_NAMES);
  return command
    .addOption(required ? model.makeOptionMandatory() : model)
    .option("--unet <file>", "UNet weights laid over the model's own: a whole state dict or the tensors that differ, in diffusers' or the original (CompVis) names; or a low-rank file")
    .option("--text-encoder <file>", "the same for the text encoder")
    .option("--lora <files>", "low-rank files (LoRA, SPM) merged into UNet and text encoder: FILE[:STRENGTH], several separated by commas", loraText)
    .option("--ema", "averaged (EMA) UNet weights, where an original checkpoint has them besides the plain ones")
    .addOption(new Option("--prediction-type <type>", "what the UNet predicts (default: as the model says; for a checkpoint file guessed, see inspect)").choices(PREDICTION_TYPES))
    .option("--config <folder>", "for a checkpoint file: a folder in diffusers layout with its configurations and tokenizer (default: from its shapes)");
}

/** @throws InvalidArgumentError if a file or its strength is malformed */
function loraText(text: string): string {
  const files = parseLora(text);
  if (files.some(({ file }) => file === "")) throw new InvalidArgumentError("Expected FILE[:STRENGTH], several separated by commas.");
  return text;
}

/** The files that the flags name besides the model, each with what it is to it. */
export async function overlayFiles(options: ModelOptions, context: DownloadContext): Promise<{ readonly role: string; readonly path: string }[]> {
  const named: [string, string][] = [];
  if (typeof options.unet === "string") named.push(["unet overlay", options.unet]);
  if (typeof options.textEncoder === "string") named.push(["text_encoder overlay", options.textEncoder]);
  if (typeof options.lora === "string") named.push(...parseLora(options.lora).map(({ file }): [string, string] => ["lora", file]));
  return Promise.all(named.map(async ([role, name]) => ({ role, path: await overlayPath(nodeFiles, await resolveWeights(name, context)) })));
}

/** Which of a model's weight files suit --weights, for `resolveModel`. */
export function suitedTo({ options }: Context): Wanted {
  return { variant: variantFor(options.weights) };
}

/** Shown below the options of commands that take paths. */
export const PATHS_NOTE = '\nA path that begins with "emoji/" and is not found here is looked up in the bundled model, e.g. emoji/unlearned/esd-x-church/ESDx-church-UNet.pt.';

/** Opens the model that the flags name on the context's device; a hub model is downloaded first. @throws FormatError, InputError, UsageError, HubError, NoAdapterError */
export async function openModel(context: Context, options: ModelOptions): Promise<StableDiffusion> {
  const device = await context.device(); // first: without an adapter there is no use for gigabytes of weights
  const weights = async (name: string | null | undefined): Promise<string | undefined> => (typeof name === "string" ? resolveWeights(name, context) : undefined);
  const source = await resolveModel(options.model, context, suitedTo(context));
  const { lora, ema, predictionType, config } = options;
  return loadStableDiffusion(device, source, {
    unet: await weights(options.unet),
    textEncoder: await weights(options.textEncoder),
    lora: await Promise.all(parseLora(lora ?? "").filter(({ file }) => file !== "").map(async ({ file, strength }) => ({ file: await resolveWeights(file, context), strength }))),
    ema: ema ?? false,
    predictionType: predictionType ?? undefined,
    config: typeof config === "string" ? resolvePath(config) : undefined,
    weights: context.options.weights,
    onNote: (note) => context.say(note),
    onWarning: (warning) => context.warn(warning),
  });
}
