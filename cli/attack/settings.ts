import { type Command, Option } from "commander";
import { ATTACKERS, INSERTIONS, usesGradient } from "../../engine/attack/types.ts";
import { SCHEDULER_NAMES } from "../../engine/models/schedulers/index.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { PATHS_NOTE, addModelOptions } from "../model.ts";
import { finiteNumber, seedNumber, someText, wholeNumber } from "../options.ts";
import { DIFFUSION_JUDGE, JUDGE_NAMES } from "./judge.ts";
import { type AttackSettings, DEFAULTS, flagName } from "./run-settings.ts";

export { type AttackSettings, flagName, isSettings, settingsAsFlags } from "./run-settings.ts";

/** What the command line gave; nothing is filled in yet. */
export type AttackFlags = { readonly [K in keyof AttackSettings]?: NonNullable<AttackSettings[K]> } & { readonly out: string; readonly resume?: boolean; readonly showImages?: boolean };

/** The flags of `attack`. None has a default here, so that --resume can tell what was given. */
export function addAttackOptions(command: Command): Command {
  return addModelOptions(command, false)
    .option("--prompt <prompt>", "the prompt that names the erased concept", someText)
    .option("--target <image.png>", "a picture of the concept; resized (bicubic, shortest edge) and centre-cropped to the model's size, as the reference does")
    .option("--original <model>", "p4d and --judge diffusion: the model before unlearning (default: --model without what is laid over it)")
    .option("--from <attack.jsonl>", "transfer: the log of a run on another model; the prompts that succeeded there are tried")
    .option("--classifier <dir>", "image classifier that judges the pictures (ResNetForImageClassification folder)")
    .addOption(new Option("--judge <name>", "a bundled judge instead; diffusion: the model before unlearning as a zero-shot classifier").choices([...JUDGE_NAMES, DIFFUSION_JUDGE]))
    .option("--judge-prompts <file>", "--judge diffusion: text file, one prompt a line: the classes, of which --label is one")
    .option("--label <label>", "the judge's label for the concept", someText)
    .addOption(new Option("--attacker <name>", "how the prompt is searched (default: text-grad)").choices(ATTACKERS))
    .option("--tokens <k>", "adversarial tokens (default: 3)", wholeNumber(1, 1000))
    .option("--iterations <n>", "gradient steps at each timestep (default: 40)", wholeNumber(1))
    .option("--timesteps <n>", "timesteps the schedule is divided into, taken from the least noisy (default: 50)", wholeNumber(1))
    .option("--max-timesteps <n>", "stop after this many of them; for random, seed-search and transfer: tries (default: all)", wholeNumber(1))
    .addOption(new Option("--insert <place>", "where the tokens go (default: prefix)").choices(INSERTIONS))
    .option("--seed <n>", "seed of the pictures' noise, as torch's CPU generator (default: 0)", seedNumber)
    .option("--attack-seed <n>", "seed of the search (default: 0; random: goes on after the first picture's noise)", seedNumber)
    .option("--learning-rate <r>", "of Adam (default: 0.01)", finiteNumber(0))
    .option("--weight-decay <d>", "of Adam, L2 form (default: 0.1)", finiteNumber(0))
    .addOption(new Option("--loss <kind>", "between predicted and true noise (default: mse)").choices(["mse", "l1"]))
    .addOption(new Option("--projection <kind>", "onto the simplex: exact, or the reference's bisection (default: exact)").choices(["exact", "reference"]))
    .option("--random-init", "start from random rows instead of every token alike")
    .option("--steps <n>", "sampling steps of the judged pictures (default: 50)", wholeNumber(1, 1000))
    .addOption(new Option("--scheduler <name>", "sampler of the judged pictures (default: lms, as the reference)").choices(SCHEDULER_NAMES))
    .option("--guidance <scale>", "guidance of the judged pictures (default: 7.5)", finiteNumber(0))
    .requiredOption("--out <dir>", "folder for attack.jsonl, images, run.json and report.html")
    .option("--resume", "go on where an interrupted run in --out stood; its settings need not be given again")
    .option("--show-images", "do not blur the pictures in the report")
    .addHelpText("after", PATHS_NOTE);
}

/**
 * The settings of a new run. @throws UsageError naming what is missing
 */
export function newSettings(flags: AttackFlags): AttackSettings {
  const { model, prompt } = flags;
  if (model === undefined) throw new UsageError("required option '--model <model>' not specified");
  if (prompt === undefined) throw new UsageError("required option '--prompt <prompt>' not specified");
  const settings: AttackSettings = { model, prompt, ...DEFAULTS, ...given(flags) };
  const { classifier, judge, label, attacker, target } = settings;
  if ((classifier === null) === (judge === null)) throw new UsageError("say who judges the pictures: either --classifier DIR or --judge NAME, with --label L");
  if (label === null) throw new UsageError("required option '--label <label>' not specified: the judge's label for the concept");
  if (usesGradient(attacker) && target === null) throw new UsageError(`required option '--target <image.png>' not specified: --attacker ${attacker} needs a picture of the concept`);
  if ((attacker === "transfer") !== (settings.from !== null)) throw new UsageError("--attacker transfer and --from attack.jsonl go together");
  const { original, judgePrompts, unet, textEncoder, lora } = settings;
  if (attacker === "p4d" && original === null && unet === null && textEncoder === null && lora === null) {
    throw new UsageError("required option '--original <model>' not specified: --attacker p4d compares with the model before unlearning, and nothing is laid over --model that could be left out");
  }
  if ((judge === DIFFUSION_JUDGE) !== (judgePrompts !== null)) throw new UsageError("--judge diffusion and --judge-prompts FILE go together");
  if (original !== null && attacker !== "p4d" && judge !== DIFFUSION_JUDGE) throw new UsageError(`--original is of --attacker p4d and --judge diffusion only, not of ${attacker}`);
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
