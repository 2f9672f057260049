import type { TransferCandidate } from "../../engine/attack/options.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readText } from "../../engine/platform/node-files.ts";
import { parseCandidates } from "../../engine/run/candidates.ts";

/**
 * The prompts of an attack.jsonl that are worth trying: see `parseCandidates`.
 * @param seed of the run
 * @throws FormatError if it cannot be read or there is none
 */
export async function readCandidates(
  name: string,
  seed: number,
): Promise<{ readonly file: string; readonly candidates: readonly TransferCandidate[] }> {
  const file = resolvePath(name);
  return { file, candidates: parseCandidates(file, await readText(file), seed) };
}
