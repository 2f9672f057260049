import { type Command, Option } from "commander";
import { loadStableDiffusion } from "../engine/models/load.ts";
import type { StableDiffusion } from "../engine/models/stable-diffusion.ts";
import type { Context } from "./context.ts";
import { MODEL_NAMES, resolveModel, resolveWeights } from "./model-source.ts";

/** The flags that name a model. */
export interface ModelOptions {
  readonly model: string;
  readonly unet?: string;
  readonly textEncoder?: string;
}

/** @param required false for commands that can take the model from an earlier run */
export function addModelOptions(command: Command, required = true): Command {
  const model = new Option("--model <model>", MODEL_NAMES);
  return command
    .addOption(required ? model.makeOptionMandatory() : model)
    .option("--unet <file>", "UNet weights laid over the model's own: a whole state dict or the tensors that differ")
    .option("--text-encoder <file>", "the same for the text encoder");
}

/** Shown below the options of commands that take paths. */
export const PATHS_NOTE = '\nA path that begins with "emoji/" and is not found here is looked up in the bundled model, e.g. emoji/unlearned/esd-x-church/ESDx-church-UNet.pt.';

/** Opens the model that the flags name on the context's device; a hub model is downloaded first. @throws FormatError, InputError, UsageError, HubError, NoAdapterError */
export async function openModel(context: Context, options: ModelOptions): Promise<StableDiffusion> {
  const device = await context.device(); // first: without an adapter there is no use for gigabytes of weights
  const weights = async (name: string | undefined): Promise<string | undefined> => (name === undefined ? undefined : resolveWeights(name, context));
  const source = await resolveModel(options.model, context);
  const [unet, textEncoder] = [await weights(options.unet), await weights(options.textEncoder)];
  return loadStableDiffusion(device, source, { unet, textEncoder, weights: context.options.weights });
}
