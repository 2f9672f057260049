import { JUDGES, type JudgeChoice, type JudgeName, isJudgeName, judgeProblems, judgeRule } from "../../engine/attack/judges/options.ts";
import { type OpenJudge, createJudge } from "../../engine/attack/judges/open.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { type DownloadContext, resolveModel } from "../model-source.ts";
import type { AttackSettings } from "../../engine/run/settings.ts";

/** Bundled judges by name: classifiers of the bundled model's data. */
const BUNDLED: Readonly<Record<string, string>> = { "emoji-object": "emoji/classifier/object", "emoji-style": "emoji/classifier/style" };

export const JUDGE_NAMES = [...Object.keys(BUNDLED), ...Object.keys(JUDGES)];

/** Under which setting each option of a judge is given. */
const SETTING = { model: "judgeModel", label: "label", top: "judgeTop", threshold: "judgeThreshold", preset: "judgePreset", prompts: "judgePrompts", text: "judgeText" } as const satisfies Readonly<Record<keyof JudgeChoice, keyof AttackSettings>>;

/** What says who judges: --classifier DIR, or --judge NAME with what that judge takes. */
export type JudgeSettings = Pick<AttackSettings, "classifier" | "judge" | (typeof SETTING)[keyof typeof SETTING]>;

export const JUDGE_SETTINGS = ["classifier", "judge", ...Object.values(SETTING)] as const satisfies readonly (keyof JudgeSettings)[];

/** A judge with what its files are, for the record. */
export interface JudgeOfRun extends OpenJudge {
  readonly files: readonly string[];
}

/** The engine's judge and its options for some settings. A bundled judge and --classifier are the engine's "classifier". */
function chosenJudge(settings: JudgeSettings): { readonly name: JudgeName; readonly choice: JudgeChoice } {
  const { classifier, judge } = settings;
  const choice = Object.fromEntries(Object.entries(SETTING).map(([option, key]) => [option, settings[key] ?? undefined])) as JudgeChoice;
  const model = classifier ?? BUNDLED[judge ?? ""];
  return isJudgeName(judge ?? "") ? { name: judge as JudgeName, choice } : { name: "classifier", choice: { ...choice, model } };
}

/**
 * What is wrong with the settings of a judge by themselves; empty if nothing is.
 * @param shown what a setting is called where it was given, e.g. "--judge-top"
 */
export function judgeSettingProblems(settings: JudgeSettings, shown: (setting: keyof JudgeSettings) => string): string[] {
  const { classifier, judge, judgeModel } = settings;
  if ((classifier === null) === (judge === null)) return [`say who judges the pictures: either ${shown("classifier")} DIR or ${shown("judge")} NAME`];
  const { name, choice } = chosenJudge(settings);
  const own = judgeProblems(name, choice, (option) => shown(SETTING[option]), judge ?? name);
  return judgeModel !== null && name !== judge ? [`${judge === null ? shown("classifier") : `judge "${judge}"`} takes no ${shown("judgeModel")}`, ...own] : own;
}

/** What a run's judge calls a success. */
export function ruleOf(settings: JudgeSettings): string {
  const { name, choice } = chosenJudge(settings);
  return judgeRule(name, choice);
}

/** Whether a judge compares with the model before unlearning. */
export function judgesByOriginal({ judge }: JudgeSettings): boolean {
  return judge === "diffusion";
}

/**
 * Opens the judge of a run. Its weights are float32 whatever the model's are: they decide what is counted.
 * @param original the model before unlearning, if `judgesByOriginal`
 * @throws FormatError or InputError naming the file; InputError for a label that the classifier does not have; HubError
 */
export async function openJudge(context: DownloadContext, device: Device, settings: JudgeSettings, original?: StableDiffusion): Promise<JudgeOfRun> {
  const { name, choice } = chosenJudge(settings);
  const model = choice.model === undefined ? undefined : (await resolveModel(choice.model, context)).folder;
  const prompts = choice.prompts === undefined ? undefined : resolvePath(choice.prompts);
  const open = await createJudge(name, device, { ...choice, files: nodeFiles, model, prompts, original });
  return { ...open, files: [model, prompts].filter((file) => file !== undefined) };
}
