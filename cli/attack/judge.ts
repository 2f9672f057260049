import { type OpenJudge, createJudge } from "../../engine/attack/judges/open.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { type JudgeSettings, chosenJudge } from "../../engine/run/settings/judge.ts";
import type { Target } from "../../engine/run/target.ts";
import type { Device } from "../../engine/runtime/device.ts";
import type { Context } from "../context.ts";
import { type DownloadContext, resolveModel } from "../model-source.ts";

/** A judge with what its files are, for the record. */
export interface JudgeOfRun extends OpenJudge {
  /** Its label for the concept. */
  readonly label: string | null;
  readonly files: readonly string[];
}

/**
 * Opens the judge of a run. Its weights are float32 whatever the model's are: they decide what is counted.
 * @param original the model before unlearning, if `judgesByOriginal`
 * @throws FormatError or InputError naming the file; InputError for a label that the classifier does not have; HubError
 */
export async function openJudge(
  context: DownloadContext,
  device: Device,
  settings: JudgeSettings,
  original?: StableDiffusion,
): Promise<JudgeOfRun> {
  const { name, choice } = chosenJudge(settings);
  const model = choice.model === undefined ? undefined : (await resolveModel(choice.model, context)).folder;
  const prompts = choice.prompts === undefined ? undefined : resolvePath(choice.prompts);
  const open = await createJudge(name, device, { ...choice, files: nodeFiles, model, prompts, original });
  return { ...open, label: settings.label, files: [model, prompts].filter((file) => file !== undefined) };
}

/** Runs a judge once, so that unusable weights are told now; says so if it does not see the concept in the target. @throws InputError */
export async function tryJudge(context: Context, { judge, rule, label }: JudgeOfRun, target: Target | undefined): Promise<void> {
  const { success, label: seen, score } = await judge(target?.image ?? { data: new Uint8Array(64 * 64 * 3), width: 64, height: 64 });
  if (!target || success) return;
  const concept = label ?? "the concept";
  context.warn(
    `the judge does not see ${concept} in the target but ${seen} (${concept} ${score.toFixed(4)}; its rule: ${rule}): is the target ` +
      "a picture of the concept, and the label right?",
  );
}
