import { type Command, Option } from "commander";
import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { generate } from "../../engine/diffusion/generate.ts";
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import type { Given, OptionTable } from "../../engine/options/option.ts";
import { asFlags } from "../../engine/options/flags.ts";
import { pick } from "../../engine/options/values.ts";
import { writeFileAtomic } from "../../engine/platform/node-files.ts";
import { JUDGE_OPTIONS } from "../../engine/run/settings/judge.ts";
import { MODEL_OPTIONS } from "../../engine/run/settings/model-options.ts";
import { shellCommand } from "../../engine/run/text/shell.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { type Context, action } from "../context.ts";
import { readConfig } from "../evaluate/config.ts";
import { makeGrid } from "../evaluate/grid.ts";
import { readPrompts } from "../evaluate/prompts.ts";
import { checkRows, requireUsable } from "../evaluate/checks.ts";
import { openModel } from "../model.ts";
import { MODEL_NAMES } from "../model-source.ts";
import { addOptions } from "../option-flags.ts";
import { exists, requireWritableFolder } from "../output.ts";
import { BUDGETS, type Budget, type InitPlan, PROMPTS, evaluationConfig, nameOf, pathFrom, promptsCsv } from "./plan.ts";
import { ask, missing } from "./questions.ts";

/** What was made to forget: laid over the model, or a model of its own. */
const OVERLAY = { unet: MODEL_OPTIONS.unet, textEncoder: MODEL_OPTIONS.textEncoder, lora: MODEL_OPTIONS.lora } satisfies OptionTable;

type InitFlags = Given<typeof OVERLAY> &
  Given<typeof JUDGE_OPTIONS> & {
    readonly model?: string;
    readonly checkpoint?: string;
    readonly name?: string;
    readonly concept?: string;
    readonly prompts?: string;
    /** False with --no-targets. */
    readonly targets?: string | boolean;
    readonly budget: Budget;
    readonly overwrite?: boolean;
  };

/** What was given and what was answered. */
type Complete = InitFlags & { readonly model: string; readonly concept: string };

const CONFIG = "evaluation.json";

export function initCommand(program: Command): void {
  const command = program
    .command("init")
    .description("write an evaluation that runs: asks for what is missing, checks every file, draws the target pictures")
    .argument("<dir>", "folder for evaluation.json, the prompts and the target pictures")
    .option("--model <model>", `the model before unlearning: ${MODEL_NAMES}`)
    .option("--concept <text>", "what it was made to forget, in words: church, Van Gogh")
    .option("--name <name>", "what the checkpoint is called in the tables (default: its file's name)")
    .option("--checkpoint <model>", "a whole unlearned model, where nothing is laid over --model");
  addOptions(command, OVERLAY);
  addOptions(command, JUDGE_OPTIONS);
  command
    .option("--prompts <file.csv>", "prompts of the concept (default: ten plain ones are written)")
    .option("--targets <dir>", "pictures of the concept, CASE_0.png (default: drawn with --model)")
    .option("--no-targets", "draw no target pictures; only attackers that need none are written")
    .addOption(
      new Option("--budget <name>", Object.entries(BUDGETS).map(([name, what]) => `${name}: ${what}`).join("; "))
        .choices(Object.keys(BUDGETS))
        .default("standard"),
    )
    .option("--overwrite", "replace the evaluation.json that the folder holds")
    .action(action<InitFlags>((flags, context, dir) => run(flags, context, dir!)));
}

async function run(flags: InitFlags, context: Context, dir: string): Promise<void> {
  await requireWritableFolder(dir);
  const file = join(dir, CONFIG);
  if (!flags.overwrite && (await exists(file))) throw new UsageError(`${file} is there already: add --overwrite, or give another folder`);
  const lacks = missing(flags);
  const asks = lacks.length > 0 && process.stdin.isTTY === true && !context.options.json && !context.options.quiet;
  if (lacks.length > 0 && !asks) throw new UsageError(`init needs more:\n  ${lacks.join("\n  ")}`);
  const given = (asks ? { ...flags, ...(await ask(flags, context.signal)) } : flags) as Complete;
  const written: string[] = [];
  try {
    const prompts = await promptsOf(given, dir, written);
    const plan = planOf(given, dir, prompts);
    written.push(file);
    if (given.targets !== undefined) {
      tell(context, file, plan, await check(context, file, plan));
      return;
    }
    // What cannot be used is told before pictures are drawn, which takes longest.
    await check(context, file, plan);
    const targets = join(dir, "targets", nameOf(given.concept));
    written.push(targets);
    await drawTargets(given, context, prompts, targets);
    const whole = { ...plan, targets: pathFrom(dir, targets) };
    tell(context, file, whole, await check(context, file, whole));
  } catch (error) {
    for (const path of written) await rm(path, { recursive: true, force: true });
    if (asks) context.say(`what you answered, to correct: ${again(given, dir)}`);
    throw error;
  }
}

/** The command that gives the same answers as flags. */
function again({ model, checkpoint, concept, ...rest }: Complete, dir: string): string {
  const whole = Object.entries({ model, checkpoint, concept });
  const named = whole.flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
  return shellCommand(["npx", "lethe", "init", dir, ...named, ...asFlags(OVERLAY, rest), ...asFlags(JUDGE_OPTIONS, rest)]);
}

/** What a checked file plans. */
interface Checked {
  readonly attempts: number;
  readonly sha256: string;
}

/** Writes the file, then reads and checks it as `evaluate` does. @throws as evaluate */
async function check(context: Context, file: string, plan: InitPlan): Promise<Checked> {
  await writeFileAtomic(file, `${JSON.stringify(evaluationConfig(plan), null, 1)}\n`);
  const { source, config } = await readConfig(file);
  const { cells, sha256 } = await makeGrid(config, source);
  requireUsable(cells);
  const planned = cells.flatMap((cell) => cell.attempts.map((attempt) => ({ cell, attempt })));
  await checkRows(context, planned);
  return { attempts: planned.length, sha256 };
}

/** Says what was checked and how to go on. */
function tell(context: Context, file: string, plan: InitPlan, { attempts, sha256 }: Checked): void {
  const next = shellCommand(["npx", "lethe", "evaluate", file, "--out", join("out", nameOf(plan.checkpoint))]);
  context.say(`every file was checked; ${attempts} attempts are planned`);
  if (plan.targets === undefined) context.say("without target pictures text-grad is left out; draw them by leaving out --no-targets");
  context.say(`to run it: ${next}`);
  context.result({ out: file, attempts, plan: sha256, next }, file);
}

/** The table of prompts: the one given, or one that is written unless it is there. */
async function promptsOf({ prompts, concept, budget }: Complete, dir: string, written: string[]): Promise<string> {
  if (prompts !== undefined) return prompts;
  const file = join(dir, "prompts", `${nameOf(concept)}.csv`);
  if (!(await exists(file))) {
    written.push(file);
    await writeFileAtomic(file, promptsCsv(concept, budget));
  }
  return file;
}

/** Completes what was given; target pictures that must be drawn are not in it yet. @throws UsageError */
function planOf(flags: Complete, dir: string, prompts: string): InitPlan {
  const { model, concept, budget, checkpoint, targets } = flags;
  const from = (name: string): string => pathFrom(dir, name);
  const overlay = Object.fromEntries(Object.entries(pick(OVERLAY, flags)).map(([key, name]) => [key, from(String(name))]));
  if (Object.keys(overlay).length > 0 && checkpoint !== undefined)
    throw new UsageError("--checkpoint is a whole model: nothing can be laid over it");
  const judge = pick(JUDGE_OPTIONS, flags);
  const paths = ["classifier", "judgeModel", "judgePrompts"];
  const judgeHere = Object.fromEntries(
    Object.entries(judge).map(([key, value]) => [key, paths.includes(key) ? from(String(value)) : value]),
  );
  const file = flags.unet ?? flags.textEncoder ?? flags.lora ?? checkpoint ?? model;
  return {
    model: from(model),
    checkpoint: flags.name ?? nameOf(basename(file).replace(/\.\w+$/, "")),
    overlay: checkpoint === undefined ? overlay : { model: from(checkpoint) },
    concept,
    judge: { label: concept, ...judgeHere },
    budget,
    prompts: from(prompts),
    targets: typeof targets === "string" ? from(targets) : undefined,
  };
}

/** Has the model before unlearning draw a picture of each prompt into a folder. */
async function drawTargets({ model, budget }: Complete, context: Context, prompts: string, folder: string): Promise<void> {
  const rows = (await readPrompts(prompts)).slice(0, PROMPTS[budget]);
  const base = await openModel(context, { model });
  await context.withProgress("drawing target pictures", async (progress) => {
    for (const [i, { id, prompt, seed, guidance }] of rows.entries()) {
      const [drawn] = await generate(base, {
        prompt, seed, guidance, steps: 25, scheduler: "ddim", signal: context.signal,
        onStep: (done, total) => progress.update((i + done / total) / rows.length, `${i + 1} of ${rows.length}`),
      });
      await writeFileAtomic(join(folder, `${id}_0.png`), encodePng(drawn!.image));
    }
  });
  await base.destroy();
}
