import { join } from "node:path";
import { pick } from "../../engine/options/values.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import type { Shard } from "../../engine/run/leaderboard/manifest.ts";
import { MODEL_OPTIONS } from "../../engine/run/settings/model-options.ts";
import { formatBytes, formatDuration } from "../../engine/run/text/format.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import type { Context } from "../context.ts";
import { withLock } from "../evaluate/lock.ts";
import { shardFolder, shardOfEnvironment } from "../evaluate/shard.ts";
import { requireWritableFolder } from "../output.ts";
import { resultText } from "./result.ts";
import { type ScoreFlags, Scorers, readInputs, score } from "./score.ts";

export interface QualityFlags extends ScoreFlags {
  readonly shard?: Shard;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly out: string;
}

/** Refuses flags that do not go together. @throws UsageError */
export function checkFlags(flags: ScoreFlags): void {
  const { model, captions, images, real, statistics, inception, clip } = flags;
  if ((model === undefined) === (images === undefined)) {
    throw new UsageError("give either --model, which draws --captions, or --images DIR, pictures that are there");
  }
  if (model !== undefined && captions === undefined) {
    throw new UsageError("required option '--captions <file.csv>' not specified: what should be drawn?");
  }
  if (images !== undefined && Object.keys(pick(MODEL_OPTIONS, { ...flags })).length > 0) {
    throw new UsageError("--images are there already: nothing can be laid over a model");
  }
  if (real !== undefined && statistics !== undefined) throw new UsageError("give either --real DIR or --statistics FILE.npz, not both");
  const compared = real !== undefined || statistics !== undefined;
  if (compared && inception === undefined) {
    throw new UsageError("required option '--inception <file>' not specified: distances are measured between a network's features");
  }
  if (clip !== undefined && captions === undefined) {
    throw new UsageError("--clip scores pictures by their captions: give --captions FILE.csv too");
  }
  if (inception === undefined && clip === undefined) {
    throw new UsageError(
      "nothing to score with: give --inception with --real or --statistics for FID and KID, --inception alone for statistics.npz, --clip " +
        "for the CLIP score",
    );
  }
}

/** Runs the command. @throws UsageError, FormatError, InputError, NoAdapterError, AbortError */
export async function runQuality(flags: QualityFlags, context: Context): Promise<void> {
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
