import type { Command } from "commander";
import { join } from "node:path";
import { QUALITY_OPTIONS } from "../../engine/metrics/quality/option-table.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import type { Shard } from "../../engine/run/leaderboard/manifest.ts";
import { MODEL_OPTIONS } from "../../engine/run/settings/model-options.ts";
import { formatBytes, formatDuration } from "../../engine/run/text/format.ts";
import { type Context, action } from "../context.ts";
import { withLock } from "../evaluate/lock.ts";
import { shardFolder, shardOfEnvironment, shardText } from "../evaluate/shard.ts";
import { addNotes } from "../help/format.ts";
import { PATHS_NOTE } from "../model.ts";
import { MODEL_NAMES } from "../model-source.ts";
import { addOptions } from "../option-flags.ts";
import { requireWritableFolder } from "../output.ts";
import { resultText } from "../quality/result.ts";
import { type ScoreFlags, Scorers, checkFlags, readInputs, score } from "../quality/score.ts";

interface QualityFlags extends ScoreFlags {
  readonly shard?: Shard;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly out: string;
}

export function qualityCommand(program: Command): void {
  const command = program
    .command("quality")
    .description("draw captions, or take pictures that are there, and score them as the public benchmark does: FID, KID, CLIP score")
    .option("--model <model>", MODEL_NAMES);
  addNotes(command, PATHS_NOTE);
  addOptions(command, MODEL_OPTIONS)
    .option("--captions <file.csv>", "captions with columns case_number, prompt, evaluation_seed, as the benchmark's coco_10k.csv")
    .option("--images <dir>", "score these pictures instead of drawing some; with --captions those named CASE_0.png")
    .option("--real <dir>", "real pictures of the same prompts, any size, to compare with")
    .option("--statistics <file.npz>", "statistics of real pictures instead, mu and sigma, made by the same recipe")
    .option(
      "--inception <file>",
      "Inception v3's weights: pt_inception-2015-12-05-6726825d.pth, for the recipe unlearncanvas torchvision's; or the folder of an " +
        "image classifier such as emoji/classifier/object, whose features are then compared (never called FID)",
    )
    .option("--clip <dir>", "a CLIPModel's folder or hub id, for the CLIP score; the benchmark's is openai/clip-vit-base-patch32");
  addOptions(command, QUALITY_OPTIONS)
    .option(
      "--shard <i/n>",
      "take part I of N only (default: as Slurm's or Kubernetes' variables say); merge puts the parts together",
      shardText,
    )
    .option("--resume", "go on with the run in --out after its last picture, or begin if there is none")
    .option("--overwrite", "throw away an earlier run in --out")
    .requiredOption("--out <dir>", "folder for pictures/, features, statistics.npz and result.json")
    .action(action<QualityFlags>((flags, context) => run(flags, context)));
}

async function run(flags: QualityFlags, context: Context): Promise<void> {
  checkFlags(flags);
  const started = performance.now();
  const shard = flags.shard ?? shardOfEnvironment(process.env);
  const out = shard ? join(flags.out, shardFolder(shard)) : flags.out;
  await requireWritableFolder(out);
  const inputs = await readInputs(flags, context);
  const scorers = await Scorers.open(flags, context);
  try {
    await withLock(out, (line) => context.say(line), async () => {
      const place = { store: folderStore(out), shard, resume: flags.resume, overwrite: flags.overwrite };
      const { record, result, json } = await score(flags, context, { inputs, scorers, place });
      const device = await context.device();
      const seconds = (performance.now() - started) / 1000;
      const peak = formatBytes(device.usage.peakBytes);
      context.say(`${formatDuration(seconds)} on ${device.description}; peak device memory ${peak}; all is in ${out}`);
      context.result({ ...json, out }, resultText(record, result));
    });
  } finally {
    await scorers.close();
  }
}
