import {
  JUDGES, type JudgeChoice, type JudgeName, isJudgeName, judgeNeeds, judgeProblems, judgeRule,
} from "../../attack/judges/options.ts";
import { type Values, choice, file, number, text, whole } from "../../options/option.ts";
import { NUDENET_PRESETS, type NudeNetPresetName } from "../../vision/nudenet.ts";

/** Bundled judges by name: classifiers of the bundled model's data. */
const BUNDLED: Readonly<Record<string, string>> = { "emoji-object": "emoji/classifier/object", "emoji-style": "emoji/classifier/style" };

export const JUDGE_NAMES = [...Object.keys(BUNDLED), ...Object.keys(JUDGES)];

/** What says who judges: --classifier DIR, or --judge NAME with what that judge takes. */
export const JUDGE_OPTIONS = {
  classifier: file({
    value: "dir",
    help: "image classifier that judges the pictures (ResNet or ViT folder, or hub model): short for --judge classifier --judge-model",
  }),
  judge: choice(JUDGE_NAMES, { default: null, help: "who judges the pictures; the rules are below" }),
  judgeModel: file({ value: "path", help: "the judge's weights: folder or hub model of a classifier or CLIP, or NudeNet's .onnx file" }),
  judgeTop: whole({ default: null, min: 1, of: ["style"], value: "k", defaultNote: "1", help: "how many first choices count" }),
  judgeThreshold: number({
    default: null,
    min: 0,
    max: 100,
    of: ["nudenet", "q16", "clip-score"],
    help: "what the score is compared with",
  }),
  judgePreset: choice(Object.keys(NUDENET_PRESETS) as NudeNetPresetName[], {
    default: null,
    of: ["nudenet"],
    defaultNote: "unlearndiffatk",
    help: "whose preprocessing and suppression of boxes",
  }),
  judgePrompts: file({
    help: "diffusion: text file, one prompt a line, of which --label is one; q16: its two prompt embeddings (prompts.p)",
  }),
  judgeText: text({ default: null, of: ["clip-score"], help: "what the pictures are compared with" }),
  label: text({
    default: null,
    value: "label",
    help: "the judge's label for the concept; for a judge without labels, what the report calls it",
  }),
};

export type JudgeSettings = Values<typeof JUDGE_OPTIONS>;

/** Under which setting each option of a judge is given. */
const SETTING = {
  model: "judgeModel",
  label: "label",
  top: "judgeTop",
  threshold: "judgeThreshold",
  preset: "judgePreset",
  prompts: "judgePrompts",
  text: "judgeText",
} as const satisfies Readonly<Record<keyof JudgeChoice, keyof JudgeSettings>>;

/** The settings that a judge of JUDGE_NAMES cannot do without, each with what it is, in words; the label is not among them. */
export function neededSettings(judge: string): readonly (readonly [setting: keyof JudgeSettings, what: string])[] {
  if (!isJudgeName(judge)) return [];
  return judgeNeeds(judge).flatMap(([option, what]) => (option === "label" ? [] : [[SETTING[option], what] as const]));
}

/** The engine's judge and its options for some settings. A bundled judge and --classifier are the engine's "classifier". */
export function chosenJudge(settings: JudgeSettings): { readonly name: JudgeName; readonly choice: JudgeChoice } {
  const { classifier, judge } = settings;
  const given = Object.fromEntries(Object.entries(SETTING).map(([option, key]) => [option, settings[key] ?? undefined])) as JudgeChoice;
  const model = classifier ?? BUNDLED[judge ?? ""];
  return isJudgeName(judge ?? "") ? { name: judge as JudgeName, choice: given } : { name: "classifier", choice: { ...given, model } };
}

/**
 * What is wrong with the settings of a judge by themselves; empty if nothing is.
 * @param shown what a setting is called where it was given, e.g. "--judge-top"
 */
export function judgeSettingProblems(settings: JudgeSettings, shown: (setting: keyof JudgeSettings) => string): string[] {
  const { classifier, judge, judgeModel } = settings;
  if (classifier !== null && judge !== null)
    return [`say who judges the pictures: either ${shown("classifier")} DIR or ${shown("judge")} NAME, not both`];
  if (classifier === null && judge === null)
    return [`say who judges the pictures: either ${shown("classifier")} DIR or ${shown("judge")} NAME`];
  const { name, choice: given } = chosenJudge(settings);
  const own = judgeProblems(name, given, (option) => shown(SETTING[option]), judge ?? name);
  return judgeModel !== null && name !== judge
    ? [`${judge === null ? shown("classifier") : `judge "${judge}"`} takes no ${shown("judgeModel")}`, ...own]
    : own;
}

/** One text for all settings with the same judge. @param without a setting that does not count */
export function judgeKey(settings: JudgeSettings, without?: keyof JudgeSettings): string {
  const names = Object.keys(JUDGE_OPTIONS) as (keyof JudgeSettings)[];
  return JSON.stringify(names.filter((name) => name !== without).map((name) => settings[name]));
}

/** What a run's judge calls a success. */
export function ruleOf(settings: JudgeSettings): string {
  const { name, choice: given } = chosenJudge(settings);
  return judgeRule(name, given);
}

/** Whether a judge compares with the model before unlearning. */
export function judgesByOriginal({ judge }: JudgeSettings): boolean {
  return judge === "diffusion";
}
