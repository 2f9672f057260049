import {
  ATTACKERS, type AttackerName, comparesWithOriginal, needsPicture, promptProblem, readsOriginalText,
} from "../../attack/attackers.ts";
import type { Given, Values } from "../../options/option.ts";
import { flagName } from "../../options/flags.ts";
import { defaultsOf, filledIn, isValues, pick } from "../../options/values.ts";
import { UsageError } from "../../runtime/errors.ts";
import { judgeSettingProblems, judgesByOriginal } from "./judge.ts";
import { RUN_OPTIONS } from "./option-table.ts";

/** Everything that decides an attack's outcome on one adapter, as run.json keeps it. */
export type AttackSettings = Values<typeof RUN_OPTIONS>;

/** The options somebody gave; nothing is filled in yet. */
export type GivenSettings = Given<typeof RUN_OPTIONS>;

/** The defaults of one attacker. */
export function defaultSettings(attacker?: AttackerName): Omit<AttackSettings, "model" | "prompt"> {
  return defaultsOf(RUN_OPTIONS, attacker);
}

/** The flags of what a new run lacks, as help writes them; empty if it can be tried. A judge counts as `--judge`. */
export function missingSettings({
  model,
  prompt,
  target,
  attacker = "text-grad",
  judge,
  classifier,
  universal,
  prompts,
}: GivenSettings): string[] {
  return [
    ...(model === undefined ? ["'--model <model>'"] : []),
    ...(prompt === undefined && prompts === undefined ? ["'--prompt <prompt>'"] : []),
    ...(needsPicture(attacker) && target === undefined && universal !== true ? ["'--target <image.png>'"] : []),
    ...(judge === undefined && classifier === undefined ? ["'--judge <name>' (or '--classifier <dir>')"] : []),
  ];
}

/**
 * The settings of a new run.
 * @param given other fields than options do not count
 * @throws UsageError naming what is missing
 */
export function newSettings(given: GivenSettings): AttackSettings {
  const { model, prompt } = given;
  if (model === undefined || prompt === undefined) {
    const lacking = missingSettings(given);
    throw new UsageError(`required option${lacking.length > 1 ? "s" : ""} ${lacking.join(", ")} not specified`);
  }
  const settings = filledIn(RUN_OPTIONS, given, given.attacker);
  const { attacker, target } = settings;
  const problems = judgeSettingProblems(settings, flagName);
  if (problems.length > 0) throw new UsageError(problems.join("; "));
  if (needsPicture(attacker) && target === null)
    throw new UsageError(`required option '--target <image.png>' not specified: --attacker ${attacker} needs a picture of the concept`);
  if ((attacker === "transfer") !== (settings.from !== null))
    throw new UsageError("--attacker transfer and --from attack.jsonl go together");
  for (const [name, used] of Object.entries({
    "--prompts": settings.prompts !== null,
    "--targets": settings.targets !== null,
    "--cases-per-step": settings.casesPerStep > 1,
  })) {
    if (used && !settings.universal) throw new UsageError(`${name} is of --universal only`);
  }
  if (settings.universal && settings.prompts === null) throw new UsageError("--universal needs a table of prompts: --prompts FILE.csv");
  if ((attacker === "ring-a-bell") !== (settings.conceptPairs !== null))
    throw new UsageError("--attacker ring-a-bell and --concept-pairs FILE go together");
  const { original, unet, textEncoder, lora } = settings;
  if (comparesWithOriginal(attacker) && original === null && unet === null && textEncoder === null && lora === null) {
    throw new UsageError(
      "required option '--original <model>' not specified: " +
      `--attacker ${attacker} compares with the model before unlearning, and nothing is ` +
        "laid over --model that could be left out",
    );
  }
  if (attacker === "concept-arithmetic" && settings.components === null)
    throw new UsageError("required option '--components <list>' not specified: --attacker concept-arithmetic adds up prompts");
  if (attacker === "latent-classifier" && (settings.conceptPictures === null || settings.otherPictures === null))
    throw new UsageError("--attacker latent-classifier needs --concept-pictures DIR and --other-pictures DIR to train its classifier on");
  for (const name of ["safree", "endpoint"] as const) {
    const problem = settings[name] === null ? undefined : promptProblem(flagName(name), attacker);
    if (problem !== undefined) throw new UsageError(problem);
  }
  if (attacker === "relearn-lora" && target === null && settings.conceptPictures === null)
    throw new UsageError("--attacker relearn-lora has no picture to train on: give --target image.png or --concept-pictures DIR");
  if (original !== null && !comparesWithOriginal(attacker) && !readsOriginalText(attacker) && !judgesByOriginal(settings))
    throw new UsageError(
      `--original is of --attacker ${ATTACKERS.filter((a) => comparesWithOriginal(a) || readsOriginalText(a)).join(", ")} and of ` +
        `--judge diffusion only, not of ${attacker}`,
    );
  return settings;
}

/**
 * The settings of an earlier run that is gone on with.
 * @param out where it is, for errors
 * @throws UsageError if something else was given now, or the run has a value that an option no longer allows
 */
export function resumedSettings(given: GivenSettings, before: AttackSettings, out: string): AttackSettings {
  for (const name of Object.keys(RUN_OPTIONS) as (keyof AttackSettings)[]) {
    const [old, value] = [before[name], given[name] ?? undefined];
    if (value !== undefined && old !== value)
      throw new UsageError(
        `--resume: the run in ${out} has ${flagName(name)} ${JSON.stringify(old)}, not ${JSON.stringify(value)}; resume with the same ` +
          "settings, or start anew in another folder",
      );
  }
  filledIn(RUN_OPTIONS, pick(RUN_OPTIONS, before), before.attacker);
  return before;
}

/** Whether a JSON value has the fields of AttackSettings, each of the right kind. */
export function isSettings(value: unknown): value is AttackSettings {
  return isValues(RUN_OPTIONS, value);
}
