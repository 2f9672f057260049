import { openTensorPath } from "../../engine/formats/open.ts";
import { nodeFiles, writeFileAtomic } from "../../engine/platform/node-files.ts";
import { type SavedState, decodeState, encodeState } from "../../engine/run/state.ts";

export type { LossCurve, SavedState } from "../../engine/run/state.ts";

/** Writes where a run stands, whole or not at all. @throws FormatError */
export async function writeState(file: string, saved: SavedState): Promise<void> {
  await writeFileAtomic(file, encodeState(file, saved));
}

/** Reads what `writeState` wrote. @throws FormatError if the file is damaged or something else */
export async function readState(file: string): Promise<SavedState> {
  const tensors = await openTensorPath(nodeFiles, file);
  try {
    return await decodeState(file, tensors);
  } finally {
    await tensors.close();
  }
}
