import type { PredictionType } from "../../loading/names/infer.ts";
import { pick } from "../../options/values.ts";
import { type Values, choice, file, flag, text } from "../../options/option.ts";

const PREDICTION_TYPES = ["epsilon", "v_prediction"] as const satisfies readonly PredictionType[];

/** What is laid over a model or read with it. */
export const MODEL_OPTIONS = {
  unet: file({
    help:
      "UNet weights laid over the model's own: a whole state dict or the tensors that differ, in diffusers' or the original (CompVis) " +
        "names; or a low-rank file",
  }),
  textEncoder: file({ help: "the same for the text encoder" }),
  lora: text({
    default: null,
    value: "files",
    help: "low-rank files (LoRA, SPM) merged into UNet and text encoder: FILE[:STRENGTH], several separated by commas",
    check: loraProblem,
  }),
  ema: flag({ help: "averaged (EMA) UNet weights, where an original checkpoint has them besides the plain ones" }),
  predictionType: choice(PREDICTION_TYPES, {
    default: null,
    value: "type",
    defaultNote: "as the model says; for a checkpoint file guessed, see inspect",
    help: "what the UNet predicts",
  }),
  config: file({
    value: "folder",
    defaultNote: "from its shapes",
    help: "for a checkpoint file: a folder in diffusers layout with its configurations and tokenizer",
  }),
};

/** The options that say which model. Those absent may be null, as run.json keeps them. */
export type ModelOptions = { readonly model: string } & {
  readonly [K in keyof typeof MODEL_OPTIONS]?: Values<typeof MODEL_OPTIONS>[K] | null | undefined;
};

/** What was given of them, for records. */
export type ModelFlags = Omit<ModelOptions, "model">;

/** The files of --lora, with their strengths. */
export function parseLora(list: string): { readonly file: string; readonly strength: number }[] {
  return list.split(",").map((part) => {
    const [, path, strength] = /^(.*?)(?::(-?(?:\d+\.?\d*|\.\d+)))?$/.exec(part.trim())!;
    return { file: path!, strength: strength === undefined ? 1 : Number(strength) };
  });
}

function loraProblem(files: string): string | undefined {
  return parseLora(files).some(({ file: name }) => name === "") ? "must be FILE[:STRENGTH], several separated by commas" : undefined;
}

/** The options that were given, but the model itself. */
export function givenModelFlags(options: ModelOptions): ModelFlags {
  return Object.fromEntries(Object.entries(pick(MODEL_OPTIONS, options)).filter(([, value]) => value !== false));
}
