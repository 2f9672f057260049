import { type Command, Option } from "commander";
import { extname } from "node:path";
import { SLD_STRENGTHS } from "../../engine/diffusion/guidance.ts";
import { SCHEDULER_NAMES, TIMESTEP_SPACINGS } from "../../engine/diffusion/schedulers/index.ts";
import { type Context, action } from "../context.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { type GenerateFlags, drawAll, planDrawing, sizeOptions } from "./generate-drawing.ts";
import { generateTable } from "./generate-table.ts";
import { addNotes } from "../help/format.ts";
import { PATHS_NOTE, addModelOptions } from "../model.ts";
import { finiteNumber, pairOf, seedNumber, someText, wholeNumber } from "../options.ts";
import { requirePngName, requireWritableFile } from "../output.ts";
import { formatBytes } from "../../engine/run/text/format.ts";

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
  const { out, prompt, model: name } = flags;
  requirePngName(out);
  await requireWritableFile(out);
  const drawing = await planDrawing(context, flags, [{ prompt }]);
  const numbered = (seed: number): string => `${out.slice(0, -extname(out).length)}-${seed}${extname(out)}`;
  const { written, seconds } = await drawAll(context, flags, drawing, (_, seed, _n, count) => (count === 1 ? out : numbered(seed)));
  const { description: adapter, usage: { peakBytes } } = drawing.model.device;
  context.say(
    `${written.length === 1 ? "1 picture" : `${written.length} pictures`} in ${seconds.toFixed(1)} s on ${adapter}; peak device memory ` +
      `${formatBytes(peakBytes)}`,
  );
  const images = written.map(({ file, seed }) => ({ file, seed }));
  const { settings } = written[0]!;
  context.result({ images, ...settings, model: name, seconds, adapter, peakBytes }, images.map(({ file }) => file).join("\n"));
}
