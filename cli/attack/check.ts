import { isProbe, usesGradient } from "../../engine/attack/attackers.ts";
import { ATTACK_OPTIONS } from "../../engine/attack/option-table.ts";
import { missingControls } from "../../engine/attack/probes/controls.ts";
import { resolveOptions } from "../../engine/attack/resolve.ts";
import { cutOffNote } from "../../engine/diffusion/learned-embedding.ts";
import { createSamplerPlan, judgedSchedulerJson } from "../../engine/diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { checkWeights } from "../../engine/loading/check-weights.ts";
import { flagName } from "../../engine/options/flags.ts";
import type { OptionTable } from "../../engine/options/option.ts";
import { unusedOptions } from "../../engine/options/values.ts";
import { type RunParts, attackOptions } from "../../engine/run/prepared.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import type { Context } from "../context.ts";
import { fitAndSay } from "../fit.ts";
import { tryJudge } from "./judge.ts";

/** What a control that is missing is made of. */
const CONTROL_FLAGS = { picture: "--control-picture", prompt: "--control-prompt", other: "--control-model or --control-prompt" } as const;

/**
 * Refuses what the attack would refuse only after its first picture, plans its memory, and warns of what may not be meant.
 * @param quiet what a run will take and lacks has been said before
 * @throws UsageError, InputError, SchedulerConfigError
 */
export async function checkRun(
  context: Context,
  settings: AttackSettings,
  model: StableDiffusion,
  parts: RunParts,
  quiet: boolean,
): Promise<void> {
  const { target, judge, cases } = parts;
  if (target?.fitted) context.say(`target fitted ${target.fitted}`);
  if (!quiet) warnOfControls(context, settings, parts);
  const options = attackOptions(settings, parts);
  const { scheduler, steps, screeningSteps } = resolveOptions(model, options);
  createSamplerPlan(scheduler, judgedSchedulerJson(scheduler, model), Math.min(steps, screeningSteps ?? steps));
  const cut = cases ? undefined : cutOffNote(model, settings.prompt);
  if (cut !== undefined) context.warn(cut);
  checkWeights(model);
  const [latentHeight, latentWidth] = model.defaultLatentSize;
  const { factor } = model.parts.vae.config;
  const { height, width } = target?.image ?? { height: latentHeight * factor, width: latentWidth * factor };
  const attackRows = usesGradient(settings.attacker) ? settings.restarts * settings.timestepsPerStep * settings.casesPerStep : 0;
  await fitAndSay(context, model, { width, height, rows: settings.guidance > 1 ? 2 : 1, pictures: 1, attackRows }, quiet);
  await tryJudge(context, judge, settings.label, target);
  if (!quiet) warnOfUnused(context, settings);
}

/** Says which of a probe's controls cannot be made. */
function warnOfControls(context: Context, { attacker, controlPrompt, otherPictures }: AttackSettings, { probe = {} }: RunParts): void {
  if (!isProbe(attacker)) return;
  const prompt = controlPrompt !== null;
  const missing = missingControls(attacker, {
    other: probe.controlModel !== undefined || prompt,
    prompt,
    picture: probe.controlPicture !== undefined || (attacker === "relearn-lora" && otherPictures !== null),
  });
  if (missing.length === 0) return;
  context.warn(
    `without ${missing.map((c) => `control "${c.name}" (${c.is})`).join(" and ")} there is no verdict: give ` +
      [...new Set(missing.map(({ needs = "other" }) => CONTROL_FLAGS[needs]))].join(" and "),
  );
}

/** Options of other attackers: an evaluation gives all its attackers the same ones, so it is not told of them. */
function warnOfUnused(context: Context, settings: AttackSettings): void {
  for (const name of unusedOptions(ATTACK_OPTIONS, settings, settings.attacker)) {
    const of: readonly string[] = (ATTACK_OPTIONS as OptionTable)[name]!.of!;
    context.warn(`${flagName(name)} changes nothing: ${settings.attacker} does not use it (only ${of.join(", ")})`);
  }
}
