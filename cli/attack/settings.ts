import { type Command, Option } from "commander";
import { JUDGES } from "../../engine/attack/judges/options.ts";
import { LEARNED_PROMPT, LEARNED_WORD, TIMESTEP_ORDERS } from "../../engine/attack/options.ts";
import { ATTACKERS, usesGradient } from "../../engine/attack/attackers.ts";
import { INSERTIONS } from "../../engine/attack/search/slot-layout.ts";
import { NUDENET_PRESETS } from "../../engine/vision/nudenet.ts";
import { VOCABULARIES } from "../../engine/attack/search/vocabulary.ts";
import { SCHEDULER_NAMES } from "../../engine/diffusion/schedulers/index.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { PATHS_NOTE, addModelOptions } from "../model.ts";
import { finiteNumber, seedNumber, someText, wholeNumber } from "../options.ts";
import { JUDGE_NAMES, judgeSettingProblems, judgesByOriginal } from "./judge.ts";
import { type AttackSettings, DEFAULTS, defaultsOf, flagName } from "../../engine/run/settings.ts";

export { type AttackSettings, flagName, isSettings, settingsAsFlags } from "../../engine/run/settings.ts";

/** What the command line gave; nothing is filled in yet. */
export type AttackFlags = { readonly [K in keyof AttackSettings]?: NonNullable<AttackSettings[K]> } & { readonly out: string; readonly resume?: boolean; readonly overwrite?: boolean; readonly showImages?: boolean };

/** The flags of `attack`. None has a default here, so that --resume can tell what was given. */
export function addAttackOptions(command: Command): Command {
  return addModelOptions(command, false)
    .option("--prompt <prompt>", "the prompt that names the erased concept", someText)
    .option("--target <image.png>", "a picture of the concept; resized (bicubic, shortest edge) and centre-cropped to the model's size, as the reference does")
    .option("--original <model>", "p4d, ring-a-bell and --judge diffusion: the model before unlearning (default: --model without what is laid over it)")
    .option("--from <attack.jsonl>", "transfer: the log of a run on another model; the prompts that succeeded there are tried, with --seed's seed only where some did")
    .option("--concept-pairs <file>", "ring-a-bell: CSV with columns with, without, or JSON [[with, without], ...]: prompts with the concept and without")
    .option("--classifier <dir>", "image classifier that judges the pictures (ResNet or ViT folder, or hub model): short for --judge classifier --judge-model")
    .addOption(new Option("--judge <name>", "who judges the pictures instead; the rules are below").choices(JUDGE_NAMES))
    .option("--judge-model <path>", "its weights: folder or hub model of a classifier or CLIP; NudeNet's .onnx file")
    .option("--judge-top <k>", "style: how many first choices count (default: 1)", wholeNumber(1))
    .option("--judge-threshold <x>", "nudenet, q16, clip-score: what the score is compared with", finiteNumber(0, 100))
    .addOption(new Option("--judge-preset <name>", "nudenet: whose preprocessing and suppression of boxes (default: unlearndiffatk)").choices(Object.keys(NUDENET_PRESETS)))
    .option("--judge-prompts <file>", "diffusion: text file, one prompt a line, of which --label is one; q16: its two prompt embeddings (prompts.p)")
    .option("--judge-text <text>", "clip-score: what the pictures are compared with", someText)
    .option("--label <label>", "the judge's label for the concept; for a judge without labels, what the report calls it", someText)
    .addOption(new Option("--attacker <name>", "how the prompt is searched (default: text-grad)").choices(ATTACKERS))
    .option("--tokens <k>", "adversarial tokens (default: 3; ring-a-bell, whose tokens are the whole prompt: 16)", wholeNumber(1, 1000))
    .option("--iterations <n>", "gradient steps at each timestep (default: 40)", wholeNumber(1))
    .option("--timesteps <n>", "timesteps the schedule is divided into, taken from the least noisy (default: 50)", wholeNumber(1))
    .option("--max-timesteps <n>", "stop after this many of them; for random, seed-search and transfer: tries (default: all); ring-a-bell: prompts drawn, the nearest first (default: 1)", wholeNumber(1))
    .addOption(new Option("--insert <place>", "where the tokens go (default: prefix)").choices(INSERTIONS))
    .addOption(new Option("--vocabulary <which>", "tokens that a search may choose: all, as the reference; typeable, which can be typed and pasted and are read alike by all CLIP tokenizers; words (default: all)").choices(VOCABULARIES))
    .option("--seed <n>", "seed of the pictures' noise, as torch's CPU generator (default: 0)", seedNumber)
    .option("--attack-seed <n>", "seed of the search (default: 0; random: goes on after the first picture's noise)", seedNumber)
    .option("--learning-rate <r>", "of Adam (default: 0.01)", finiteNumber(0))
    .option("--weight-decay <d>", "of Adam, L2 form (default: 0.1)", finiteNumber(0))
    .addOption(new Option("--loss <kind>", "between predicted and true noise (default: mse)").choices(["mse", "l1"]))
    .addOption(new Option("--projection <kind>", "onto the simplex: exact, or the reference's bisection (default: exact)").choices(["exact", "reference"]))
    .option("--random-init", "start from random rows instead of every token alike")
    .option("--universal", "one set of tokens for all prompts of --prompts and their pictures; it succeeds if every prompt draws the concept with it")
    .option("--prompts <file>", "--universal: prompts CSV with the columns prompt, evaluation_seed and, if wanted, case_number, evaluation_guidance (or i2p's)")
    .option("--targets <dir>", "--universal: folder of the cases' pictures, CASE_0.png or CASE.png (default: imgs beside the table)")
    .option("--cases-per-step <n>", "--universal: prompts that an iteration sees at once, in turn; its loss is their mean (default: 1)", wholeNumber(1, 1000))
    .option("--restarts <r>", "searches side by side in one batch, of seeds --attack-seed, + 1, ...; least loss is judged first (default: 1)", wholeNumber(1, 64))
    .option("--timesteps-per-step <n>", "neighbouring timesteps attacked together in one batch; their mean loss is followed; for cce: random ones (default: 1)", wholeNumber(1, 64))
    .addOption(new Option("--timestep-order <order>", "gradient: those with the largest gradient first, measured before the search (default: sequence)").choices(TIMESTEP_ORDERS))
    .addOption(new Option("--gate <name>", "draw only prompts under which the model predicts the noise in the target better than under the original prompt").choices(["diffusion"]))
    .option("--gate-margin <x>", "by what part of the original prompt's error (default: 0)", finiteNumber(-0.99, 0.99))
    .option("--gate-samples <n>", "at how many timesteps the two are compared (default: 8)", wholeNumber(1, 100))
    .option("--screening-steps <s>", "draw with so few steps first, and in full only where the judge sees the concept (default: always in full)", wholeNumber(1, 999))
    .option("--learned-prompt <text>", `cce: the prompt that ${LEARNED_WORD} is learned and judged in (default: "${LEARNED_PROMPT}"; for a style such as "a house in ${LEARNED_WORD} style")`, someText)
    .option("--eta <n>", "ring-a-bell: concept vectors that the prompt's encoding is moved by (default: 3)", finiteNumber(-Number.MAX_VALUE))
    .option("--population <n>", "ring-a-bell: token lists in a generation (default: 200)", wholeNumber(2, 100_000))
    .option("--generations <n>", "ring-a-bell: how many (default: 3000)", wholeNumber(1))
    .option("--mutation-rate <p>", "ring-a-bell: probability that a list has a token exchanged (default: 0.25)", finiteNumber(0, 1))
    .option("--crossover-rate <p>", "ring-a-bell: probability that a parent has two children (default: 0.5)", finiteNumber(0, 1))
    .option("--steps <n>", "sampling steps of the judged pictures (default: 50)", wholeNumber(1, 1000))
    .addOption(new Option("--scheduler <name>", "sampler of the judged pictures (default: lms, as the reference)").choices(SCHEDULER_NAMES))
    .option("--guidance <scale>", "guidance of the judged pictures (default: 7.5)", finiteNumber(0))
    .requiredOption("--out <dir>", "folder for attack.jsonl, images, run.json and report.html")
    .option("--resume", "go on where an interrupted run in --out stood; its settings need not be given again")
    .option("--overwrite", "replace the run that --out holds; without it a folder that holds one is refused")
    .option("--show-images", "do not blur the pictures in the report")
    .addHelpText("after", `\nJudges, and what each calls a success (emoji-object and emoji-style are bundled classifiers):\n${Object.entries(JUDGES).map(([name, rule]) => `  ${name}: ${rule}`).join("\n")}\n${PATHS_NOTE}`);
}

/**
 * The settings of a new run. @throws UsageError naming what is missing
 */
export function newSettings(flags: AttackFlags): AttackSettings {
  const { model, prompt } = flags;
  if (model === undefined) throw new UsageError("required option '--model <model>' not specified");
  if (prompt === undefined) throw new UsageError("required option '--prompt <prompt>' not specified");
  const settings: AttackSettings = { model, prompt, ...defaultsOf(flags.attacker ?? DEFAULTS.attacker), ...given(flags) };
  const { attacker, target } = settings;
  const problems = judgeSettingProblems(settings, flagName);
  if (problems.length > 0) throw new UsageError(problems.join("; "));
  if (usesGradient(attacker) && target === null) throw new UsageError(`required option '--target <image.png>' not specified: --attacker ${attacker} needs a picture of the concept`);
  if ((attacker === "transfer") !== (settings.from !== null)) throw new UsageError("--attacker transfer and --from attack.jsonl go together");
  for (const [flag, given] of Object.entries({ "--prompts": settings.prompts !== null, "--targets": settings.targets !== null, "--cases-per-step": settings.casesPerStep > 1 })) {
    if (given && !settings.universal) throw new UsageError(`${flag} is of --universal only`);
  }
  if (settings.universal && settings.prompts === null) throw new UsageError("--universal needs a table of prompts: --prompts FILE.csv");
  if ((attacker === "ring-a-bell") !== (settings.conceptPairs !== null)) throw new UsageError("--attacker ring-a-bell and --concept-pairs FILE go together");
  const { original, unet, textEncoder, lora } = settings;
  if (attacker === "p4d" && original === null && unet === null && textEncoder === null && lora === null) {
    throw new UsageError("required option '--original <model>' not specified: --attacker p4d compares with the model before unlearning, and nothing is laid over --model that could be left out");
  }
  if (original !== null && attacker !== "p4d" && attacker !== "ring-a-bell" && !judgesByOriginal(settings)) throw new UsageError(`--original is of --attacker p4d, ring-a-bell and --judge diffusion only, not of ${attacker}`);
  return settings;
}

/** The settings of an earlier run that is gone on with. @throws UsageError if a flag says something else */
export function resumedSettings(flags: AttackFlags, before: AttackSettings): AttackSettings {
  for (const [key, value] of Object.entries(given(flags))) {
    const old = before[key as keyof AttackSettings];
    if (old !== value) throw new UsageError(`--resume: the run in ${flags.out} has ${flagName(key)} ${JSON.stringify(old)}, not ${JSON.stringify(value)}; resume with the same settings, or start anew in another folder`);
  }
  return before;
}

function given(flags: AttackFlags): Partial<typeof DEFAULTS> {
  const known = new Set(["model", "prompt", ...Object.keys(DEFAULTS)]);
  return Object.fromEntries(Object.entries(flags).filter(([key, value]) => known.has(key) && value !== undefined));
}
