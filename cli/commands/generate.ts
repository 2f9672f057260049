import { type Command, Option } from "commander";
import { extname } from "node:path";
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import { type GeneratedImage, generate, generateSettings } from "../../engine/diffusion/generate.ts";
import { SLD_STRENGTHS } from "../../engine/diffusion/guidance.ts";
import { SCHEDULER_NAMES, TIMESTEP_SPACINGS } from "../../engine/diffusion/schedulers/index.ts";
import { writeFileAtomic } from "../../engine/platform/node-files.ts";
import { type Context, action } from "../context.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { type GenerateFlags, sizeOptions } from "./generate-flags.ts";
import { namedPrompts, openLearned, warnOfPrompts, warnOfUnused } from "./generate-prompts.ts";
import { generateTable } from "./generate-table.ts";
import { fitAndSay } from "../fit.ts";
import { addNotes } from "../help/format.ts";
import { PATHS_NOTE, addModelOptions, openModel } from "../model.ts";
import { givenModelFlags } from "../../engine/run/settings/model-options.ts";
import { finiteNumber, pairOf, seedNumber, someText, wholeNumber } from "../options.ts";
import { requirePngName, requireWritableFile } from "../output.ts";
import { pngTexts } from "../../engine/run/text/png-texts.ts";
import { formatBytes } from "../../engine/run/text/format.ts";
import { VERSION } from "../../engine/run/version.ts";

export function generateCommand(program: Command): void {
  const command = program.command("generate").description("text to image; the parameters are also written into the PNG's text");
  addNotes(command, PATHS_NOTE);
  addModelOptions(command)
    .option("--prompt <prompt>", "what to draw")
    .option(
      "--prompts-csv <file>",
      "draw every row of a prompts table (columns as for evaluate) with its own seed and guidance instead: a data set with target " +
        "pictures in --out",
    )
    .option("--negative-prompt <prompt>", "what to steer away from")
    .option("--prompt-2 <prompt>", "SDXL: for the second text encoder (default: the prompt)")
    .option("--negative-prompt-2 <prompt>", "SDXL: the same of the negative prompt")
    .option("--original-size <WxH>", "SDXL: told as the size before cropping (default: the picture's own)", pairOf("x", 1))
    .option("--crop-at <X,Y>", "SDXL: told as where the crop began (default: 0,0)", pairOf(",", 0))
    .option("--target-size <WxH>", "SDXL: told as the size aimed at (default: the picture's own)", pairOf("x", 1))
    .option("--negative-original-size <WxH>", "SDXL: told to the unconditional half; together with the target size", pairOf("x", 1))
    .option("--negative-crop-at <X,Y>", "SDXL: the same (default: 0,0)", pairOf(",", 0))
    .option("--negative-target-size <WxH>", "SDXL: the same", pairOf("x", 1))
    .option("--steps <n>", "sampling steps", wholeNumber(1, 1000), 50)
    .addOption(new Option("--scheduler <name>", "sampler (default: the model's own)").choices(SCHEDULER_NAMES))
    .addOption(
      new Option(
        "--spacing <kind>",
        "which timesteps are visited (default: the model's own); Turbo and Lightning models: trailing",
      ).choices(TIMESTEP_SPACINGS),
    )
    .option("--eta <share>", "DDIM's share of fresh noise, 0 to 1", finiteNumber(0, 1))
    .option("--guidance <scale>", "classifier-free guidance; 1: none (default: 7.5, of SDXL 5)", finiteNumber(0))
    .option("--seed <n>", "seed of the start noise, as torch's CPU generator (default: 0)", seedNumber)
    .option(
      "--count <n>",
      "pictures, of each row with --prompts-csv; their seeds count up from --seed, which is then put into the file names",
      wholeNumber(1, 100_000),
      1,
    )
    .option("--width <pixels>", "default: the model's own size", wholeNumber(1, 16_384))
    .option("--height <pixels>", "default: the model's own size", wholeNumber(1, 16_384))
    .addOption(new Option("--sld <strength>", "Safe Latent Diffusion").choices(SLD_STRENGTHS))
    .option("--safree <phrases>", "SAFREE: the prompt is moved away from these phrases, separated by semicolons", someText)
    .option(
      "--embedding <files...>",
      "learned embeddings of words in the prompt such as <cce>: files of diffusers, AUTOMATIC1111, textual_inversion or kohya",
    )
    .option("--dry-run", "--prompts-csv: check every row, and say what would be drawn; nothing is drawn or written")
    .requiredOption("--out <file.png>", "where the picture goes; with --prompts-csv a folder, which gets prompts.csv and imgs/CASE_0.png")
    .action(action<GenerateFlags>((flags, context) => run(flags, context)));
}

async function run(given: GenerateFlags, context: Context): Promise<void> {
  const flags = { ...given, ...sizeOptions(given) };
  const { prompt, promptsCsv } = flags;
  if (promptsCsv !== undefined) {
    if (prompt !== undefined) throw new UsageError("give either --prompt or --prompts-csv, not both");
    if (flags.seed !== undefined) throw new UsageError("--seed is of --prompt only: every row of a prompts table has a seed of its own");
    return generateTable(context, { ...flags, promptsCsv });
  }
  if (flags.dryRun) throw new UsageError("--dry-run is of --prompts-csv only");
  if (prompt === undefined) throw new UsageError("required option '--prompt <prompt>' not specified (or --prompts-csv <file>)");
  return drawOne({ ...flags, prompt }, context);
}

async function drawOne(flags: GenerateFlags & { readonly prompt: string }, context: Context): Promise<void> {
  requirePngName(flags.out);
  await requireWritableFile(flags.out);
  const files = await openLearned(context, flags.embedding);
  const model = await openModel(context, flags);
  const learned = warnOfPrompts(context, model, files, namedPrompts([flags], flags.negativePrompt));
  const settings = generateSettings(model, flags);
  warnOfUnused(context, flags, [settings]);
  const rows = flags.sld ? 3 : settings.guidance > 1 ? 2 : 1;
  await fitAndSay(context, model, { width: settings.width, height: settings.height, rows, pictures: 1, attackRows: 0 });
  const started = performance.now();
  const images = await context.withProgress("drawing", async (progress) =>
    generate(model, {
      ...flags,
      learned,
      signal: context.signal,
      onStep: (done, total) => progress.update(done / total, `step ${done}/${total}`),
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const { description: adapter, usage } = model.device;
  const written: { file: string; seed: number }[] = [];
  for (const { seed, image } of images) {
    const file = fileName(flags.out, seed, images);
    const texts = pngTexts(settings, seed, {
      model: flags.model,
      ...givenModelFlags(flags),
      ...(flags.embedding && { embedding: flags.embedding }),
      weights: context.options.weights ?? "f32",
      adapter,
      version: VERSION,
    });
    await writeFileAtomic(file, encodePng(image, { ...texts }));
    written.push({ file, seed });
  }
  context.say(
    `${images.length === 1 ? "1 picture" : `${images.length} pictures`} in ${seconds.toFixed(1)} s on ${adapter}; peak device memory ` +
      `${formatBytes(usage.peakBytes)}`,
  );
  context.result(
    { images: written, ...settings, model: flags.model, seconds, adapter, peakBytes: usage.peakBytes },
    written.map((w) => w.file).join("\n"),
  );
}

/** FILE.png, or FILE-SEED.png for each of several. */
function fileName(out: string, seed: number, images: readonly GeneratedImage[]): string {
  const extension = extname(out);
  return images.length === 1 ? out : `${out.slice(0, -extension.length)}-${seed}${extension}`;
}
