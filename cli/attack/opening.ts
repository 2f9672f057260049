import { comparesWithOriginal, isProbe, readsOriginalText } from "../../engine/attack/attackers.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { judgesByOriginal } from "../../engine/run/settings/judge.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import type { Context } from "../context.ts";
import { type ModelPart, type OpenedModel, openWithFiles } from "../model.ts";
import { recordFiles } from "./files.ts";
import { type JudgeOfRun, openJudge } from "./judge.ts";

/** How a run's parts are opened: anew for one attack, shared between the attacks of an evaluation. */
export interface Opening {
  readonly model: (context: Context, settings: AttackSettings) => Promise<OpenedModel>;
  /** The model before unlearning. */
  readonly original: (context: Context, options: ModelOptions) => Promise<OpenedModel>;
  /** What a probe is compared with. */
  readonly control: (context: Context, options: ModelOptions) => Promise<OpenedModel>;
  readonly judge: typeof openJudge;
  readonly files: typeof recordFiles;
  /** What a run will take has been said before. */
  readonly quiet: boolean;
}

/** Everything from its files. */
export const ANEW: Opening = {
  model: openWithFiles, original: openWithFiles, control: openWithFiles, judge: openJudge, files: recordFiles, quiet: false,
};

/** The models of a run and its judge. */
export interface OpenedParts {
  readonly model: StableDiffusion;
  readonly original: StableDiffusion | undefined;
  readonly control: StableDiffusion | undefined;
  readonly judge: JudgeOfRun;
  /** What they came from, for the record. */
  readonly files: readonly ModelPart[];
}

/** Opens the models of a run and its judge. @throws FormatError, InputError, UsageError, HubError, NoAdapterError */
export async function openParts(context: Context, settings: AttackSettings, opening: Opening): Promise<OpenedParts> {
  const { model, files } = await opening.model(context, settings);
  const original = needsOriginal(settings) ? await opening.original(context, originalOptions(settings)) : undefined;
  const judge = await opening.judge(context, model.device, settings, original?.model);
  const other = controlOptions(settings);
  const control = other && (await opening.control(context, other));
  // without a name of its own the original is of the model's files
  const before = settings.original === null ? [] : (original?.files ?? []).map((file) => ({ ...file, role: "original" }));
  return {
    model,
    original: original?.model,
    control: control?.model,
    judge,
    files: [...files, ...before, ...judge.files.map((path) => ({ role: "judge", path }))],
  };
}

/**
 * Whether a run needs the model before unlearning: to compare with, or as the text encoder that a black-box search knows, which is the
 * attacked model's own
 * unless something was laid over it.
 */
export function needsOriginal(settings: AttackSettings): boolean {
  const { attacker, original, textEncoder, lora } = settings;
  return (
    comparesWithOriginal(attacker) ||
    (readsOriginalText(attacker) && (original !== null || textEncoder !== null || lora !== null)) ||
    judgesByOriginal(settings)
  );
}

/** The model before unlearning. */
function originalOptions({ original, model, ema, predictionType, config }: AttackSettings): ModelOptions {
  return original === null ? { model, ema, predictionType, config } : { model: original };
}

/** The model that never saw the concept, for a probe that is compared with one. */
function controlOptions({ attacker, model, controlModel, controlUnet }: AttackSettings): ModelOptions | undefined {
  if (!isProbe(attacker) || (controlModel === null && controlUnet === null)) return undefined;
  return { model: controlModel ?? model, ...(controlUnet !== null && { unet: controlUnet }) };
}
