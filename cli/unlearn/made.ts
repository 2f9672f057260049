import { join } from "node:path";
import { folderStore } from "../../engine/platform/folder-store.ts";
import type { MadeCheckpoint } from "../../engine/run/leaderboard/page/made.ts";
import type { Manifest } from "../../engine/run/leaderboard/manifest.ts";
import { UNLEARN_FILES, UnlearnFiles } from "../../engine/run/unlearn/files.ts";
import { isPreview } from "../../engine/run/unlearn/log.ts";

/** The checkpoints that an evaluation made, as far as their runs are there. @param folder the evaluation's @throws FormatError */
export async function readMade(folder: string, { unlearned = [] }: Manifest): Promise<MadeCheckpoint[]> {
  const made: MadeCheckpoint[] = [];
  for (const { checkpoint, run } of unlearned) {
    const files = new UnlearnFiles(folderStore(join(folder, run)));
    const record = await files.earlier();
    if (!record) continue;
    const previews = (await files.lines()).filter(isPreview).toSorted((a, b) => a.step - b.step);
    const own = previews.filter(({ prompt }) => prompt === previews[0]?.prompt);
    const [first, last] = [own[0], own.at(-1)];
    const [before, after] = [
      first && (await files.picture(first.image)),
      last && last !== first ? await files.picture(last.image) : undefined,
    ];
    made.push({ checkpoint, record, before, after, report: `${run}/${UNLEARN_FILES.report}` });
  }
  return made;
}
