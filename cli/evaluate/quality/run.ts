import { join } from "node:path";
import { folderStore } from "../../../engine/platform/folder-store.ts";
import { qualityFolder } from "../../../engine/run/leaderboard/quality.ts";
import type { Manifest, Shard } from "../../../engine/run/leaderboard/manifest.ts";
import type { Context } from "../../context.ts";
import { readRecord } from "../../quality/record.ts";
import { Scorers, score } from "../../quality/score.ts";
import { readResult } from "./results.ts";
import type { PlannedQuality } from "./plan.ts";
import { cp } from "node:fs/promises";
import { exists } from "../../output.ts";
import { type Part, mergeParts } from "../../quality/merge.ts";

/** Below an evaluation: what all its checkpoints' scores share. */
export const QUALITY_ROOT = "quality";

/** Of planned checkpoints those that are scored already, and those that an earlier run began. @throws FormatError */
export async function qualityDone(
  folder: string,
  planned: readonly PlannedQuality[],
): Promise<{ readonly done: readonly PlannedQuality[]; readonly begun: boolean }> {
  const done: PlannedQuality[] = [];
  let begun = false;
  for (const one of planned) {
    const store = folderStore(join(folder, qualityFolder(one.checkpoint)));
    if (await readResult(store)) done.push(one);
    if (await readRecord(store)) begun = true;
  }
  return { done, begun };
}

/**
 * Scores the pictures of checkpoints, each in a folder of its own. A run that was cut off goes on after its last picture. The features of
 * the real pictures are computed once for all.
 * @throws what a quality run throws; AbortError
 */
export async function runQualities(
  context: Context,
  folder: string,
  planned: readonly PlannedQuality[],
  shard: Shard | undefined,
): Promise<void> {
  const [first] = planned;
  if (!first) return;
  const scorers = await Scorers.open(first.flags, context);
  const realStore = folderStore(join(folder, QUALITY_ROOT));
  try {
    for (const [i, { checkpoint, flags, inputs, pictures }] of planned.entries()) {
      context.signal.throwIfAborted();
      const what = flags.images === undefined ? `draws ${pictures} captions` : `has ${pictures} pictures`;
      context.say(`quality ${i + 1} of ${planned.length}: ${checkpoint} ${what}${shard ? `, of which this part takes its share` : ""}`);
      const place = { store: folderStore(join(folder, qualityFolder(checkpoint))), realStore, shard, resume: true };
      await score(flags, context, { inputs, scorers, place });
    }
  } finally {
    await scorers.close();
  }
}

/**
 * Puts the scores of an evaluation's checkpoints together, each of the parts that folders have of it, with its pictures.
 * @param folders of evaluations or shards
 * @throws UsageError for parts of different runs; FormatError for parts that contradict each other
 */
export async function mergeQualities(folders: readonly string[], { quality = [] }: Manifest, out: string, context: Context): Promise<void> {
  const realStore = folderStore(join(out, QUALITY_ROOT));
  for (const { checkpoint } of quality) {
    const below = qualityFolder(checkpoint);
    const parts: Part[] = [];
    for (const folder of folders) {
      const store = folderStore(join(folder, below));
      const record = await readRecord(store);
      if (record) parts.push({ store, record, realStore: folderStore(join(folder, QUALITY_ROOT)) });
      const pictures = join(folder, below, "pictures");
      if (folder !== out && (await exists(pictures))) await cp(pictures, join(out, below, "pictures"), { recursive: true });
    }
    if (parts.length > 0) await mergeParts(parts, folderStore(join(out, below)), context, realStore);
    else context.warn(`the pictures of ${checkpoint} were scored in none of the folders`);
  }
}
