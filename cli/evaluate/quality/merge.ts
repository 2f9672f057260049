import { cp } from "node:fs/promises";
import { join } from "node:path";
import { folderStore } from "../../../engine/platform/folder-store.ts";
import type { Manifest } from "../../../engine/run/leaderboard/manifest.ts";
import { qualityFolder } from "../../../engine/run/leaderboard/quality.ts";
import type { Context } from "../../context.ts";
import { exists } from "../../output.ts";
import { type Part, mergeParts } from "../../quality/merge.ts";
import { readRecord } from "../../quality/record.ts";
import { QUALITY_ROOT } from "./run.ts";

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
