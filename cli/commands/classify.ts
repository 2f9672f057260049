import { type Command, InvalidArgumentError, Option } from "commander";
import {
  DEFAULT_STAGES,
  type DiffusionClassification,
  type EliminationStage,
  classifyByDiffusion,
} from "../../engine/diffusion/diffusion-classifier.ts";
import { cutOffNote } from "../../engine/diffusion/learned-embedding.ts";
import { readPromptLines } from "../../engine/formats/text/prompt-lines.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { readPicture } from "../../engine/platform/picture/read-picture.ts";
import { fitTarget } from "../../engine/run/target.ts";
import { type Context, action } from "../context.ts";
import { addNotes } from "../help/format.ts";
import { PATHS_NOTE, addModelOptions, openModel } from "../model.ts";
import { type ModelOptions, givenModelFlags } from "../../engine/run/settings/model-options.ts";
import { seedNumber, wholeNumber } from "../options.ts";

import { formatDuration, quoted } from "../../engine/run/text/format.ts";
import { columnsOf, terminalTable } from "../terminal/table.ts";

interface ClassifyFlags extends ModelOptions {
  readonly image: readonly string[];
  readonly prompts: string;
  readonly samples: readonly number[];
  readonly keep: readonly number[];
  readonly trials: number;
  readonly loss: "l1" | "l2";
  readonly seed: number;
  readonly batch: number;
}

export function classifyCommand(program: Command): void {
  const command = program
    .command("classify")
    .description("which of several prompts describes a picture best, by the diffusion model itself (arXiv 2303.16203)");
  addNotes(command, PATHS_NOTE);
  addModelOptions(command)
    .requiredOption(
      "--image <files...>",
      "pictures (PNG, JPEG, WebP); resized (bicubic, shortest edge) and centre-cropped to the model's size",
    )
    .requiredOption("--prompts <file>", "text file, one prompt a line: the classes")
    .option(
      "--samples <n,..>",
      "timesteps that each prompt has been tried at after each stage; published: 25,250 (pets), 50,500 (CIFAR-10), " +
        "50,100,500,1000 (ImageNet)",
      numberList,
      DEFAULT_STAGES.map((s) => s.samples),
    )
    .option(
      "--keep <n,..>",
      "prompts that are left after each stage; the last must be 1; published: 5,1 for the first two, 500,50,10,1",
      numberList,
      DEFAULT_STAGES.map((s) => s.keep),
    )
    .option("--trials <n>", "noises at each timestep", wholeNumber(1, 1000), 1)
    .addOption(
      new Option("--loss <kind>", "between predicted and true noise; published: l1 for pets and CIFAR-10, l2 for ImageNet")
        .choices(["l2", "l1"])
        .default("l2"),
    )
    .option("--seed <n>", "of the noises, the same for every prompt, as torch's CPU generator", seedNumber, 0)
    .option("--batch <n>", "predictions made together", wholeNumber(1, 1000), 8)
    .action(action<ClassifyFlags>((flags, context) => run(flags, context)));
}

/** @throws InvalidArgumentError unless the text is whole numbers separated by commas */
function numberList(text: string): number[] {
  const numbers = text.split(",").map((part) => Number(part.trim() || Number.NaN));
  if (numbers.some((n) => !Number.isSafeInteger(n) || n < 1)) {
    throw new InvalidArgumentError("Expected whole numbers of at least 1, separated by commas.");
  }
  return numbers;
}

/** @throws UsageError unless there are as many of one as of the other */
function stagesOf({ samples, keep }: ClassifyFlags): EliminationStage[] {
  if (samples.length !== keep.length) {
    throw new UsageError(`--samples and --keep must name the same stages, got ${samples.length} and ${keep.length} numbers`);
  }
  return samples.map((n, i) => ({ samples: n, keep: keep[i]! }));
}

async function run(flags: ClassifyFlags, context: Context): Promise<void> {
  const stages = stagesOf(flags);
  const prompts = await readPromptLines(nodeFiles, resolvePath(flags.prompts));
  const pictures = await Promise.all(flags.image.map((name) => readPicture(resolvePath(name))));
  const model = await openModel(context, flags);
  if (model.parts.transport) {
    throw new UsageError(
      "classify compares predictions of one model, but this eraser's strength (SPM) depends on the prompt; merge the file with --lora, " +
        "which is not the published model",
    );
  }
  for (const prompt of prompts) {
    const note = cutOffNote(model, prompt);
    if (note !== undefined) context.warn(note);
  }
  const { trials, loss, seed, batch } = flags;
  const started = performance.now();
  const results: ({ readonly file: string } & DiffusionClassification)[] = [];
  await context.withProgress("classifying", async (progress) => {
    for (const [i, picture] of pictures.entries()) {
      const { array, fitted } = fitTarget(picture, model);
      if (fitted) context.say(`${picture.file}: fitted ${fitted}`);
      const onProgress = (done: number, total: number): void => progress.update((i + done / total) / pictures.length, picture.file);
      const result = await classifyByDiffusion(model, array, {
        prompts,
        stages,
        trials,
        loss: loss === "l2" ? "mse" : "l1",
        seed,
        batch,
        signal: context.signal,
        onProgress,
      });
      results.push({ file: picture.file, ...result });
    }
  });
  const seconds = (performance.now() - started) / 1000;
  const { description: adapter } = model.device;
  context.say(`${results.reduce((n, r) => n + r.predictions, 0)} predictions in ${formatDuration(seconds)} on ${adapter}`);
  const images = results.map(({ file, index, scores, timesteps, predictions }) => ({
    file,
    prompt: prompts[index]!,
    index,
    scores,
    timesteps,
    predictions,
  }));
  context.result(
    { images, prompts, stages, trials, loss, seed, model: flags.model, ...givenModelFlags(flags), seconds, adapter },
    results.map(describe).join("\n\n"),
  );
}

/** The best few prompts of a picture, the winner first. */
function describe({ file, index, scores }: { readonly file: string } & DiffusionClassification): string {
  const ranked = scores.toSorted((a, b) => b.stages - a.stages || a.error - b.error).slice(0, 5);
  const rows = ranked.map((s) => [quoted(s.prompt), s.error.toFixed(6), String(s.errors.length)]);
  return `${file}: ${quoted(scores[index]!.prompt)}\n${terminalTable(columnsOf(["prompt", "mean error", "tried"], [1, 2]), rows)}`;
}
