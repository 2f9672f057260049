import { isProbe, usesGradient } from "../../engine/attack/attackers.ts";
import type { AttackParts, AttackValues } from "../../engine/attack/options.ts";
import { missingControls } from "../../engine/attack/probes/controls.ts";
import { type ResolvedOptions, resolveAttack } from "../../engine/attack/resolve.ts";
import { cutOffNote } from "../../engine/diffusion/learned-embedding.ts";
import { createSamplerPlan, judgedSchedulerJson } from "../../engine/diffusion/schedulers/index.ts";
import type { RunWork } from "../../engine/diffusion/estimate-run.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { checkWeights } from "../../engine/loading/check-weights.ts";
import type { Context } from "../context.ts";
import { fitAndSay } from "../fit.ts";

/** What a control that is missing is made of. */
const CONTROL_FLAGS = { picture: "--control-picture", prompt: "--control-prompt", other: "--control-model or --control-prompt" } as const;

/**
 * Refuses what the attack would refuse only after its first picture, plans its memory, and warns of what may not be meant.
 * @param quiet what a run will take and lacks has been said before
 * @throws UsageError, InputError, SchedulerConfigError
 */
export async function checkAttack(
  context: Context,
  model: StableDiffusion,
  values: AttackValues,
  parts: AttackParts,
  quiet: boolean,
): Promise<ResolvedOptions> {
  if (!quiet) warnOfControls(context, values, parts);
  const options = resolveAttack(model, values, parts);
  const { scheduler, steps, screeningSteps, prompt } = options;
  createSamplerPlan(scheduler, judgedSchedulerJson(scheduler, model), Math.min(steps, screeningSteps ?? steps));
  const cut = parts.cases ? undefined : cutOffNote(model, prompt);
  if (cut !== undefined) context.warn(cut);
  checkWeights(model);
  await fitAndSay(context, model, workOf(options, model), quiet);
  return options;
}

/** What an attack has the device do. */
function workOf(options: ResolvedOptions, model: StableDiffusion): RunWork {
  const { attacker, cases, latentSize, restarts, timestepsPerStep, casesPerStep } = options;
  const [height, width] = latentSize.map((n) => n * model.parts.vae.config.factor) as [number, number];
  const attackRows = usesGradient(attacker) ? restarts * timestepsPerStep * casesPerStep : 0;
  return { width, height, rows: cases.some(({ guidance }) => guidance > 1) ? 2 : 1, pictures: 1, attackRows };
}

/** Says which of a probe's controls cannot be made. */
function warnOfControls(context: Context, { attacker, controlPrompt }: AttackValues, parts: AttackParts): void {
  if (!isProbe(attacker)) return;
  const prompt = controlPrompt !== null;
  const missing = missingControls(attacker, {
    other: parts.controlModel !== undefined || prompt,
    prompt,
    picture: parts.controlPicture !== undefined || (attacker === "relearn-lora" && parts.probePictures?.other !== undefined),
  });
  if (missing.length === 0) return;
  context.warn(
    `without ${missing.map((c) => `control "${c.name}" (${c.is})`).join(" and ")} there is no verdict: give ` +
      [...new Set(missing.map(({ needs = "other" }) => CONTROL_FLAGS[needs]))].join(" and "),
  );
}
