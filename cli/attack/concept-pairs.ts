import type { ConceptPair } from "../../engine/attack/search/concept-vector.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readText } from "../../engine/platform/node-files.ts";
import { parseConceptPairs } from "../../engine/run/concept-pairs.ts";

/** The pairs of a file on the disk, and its path. @throws FormatError as `parseConceptPairs` */
export async function readConceptPairs(name: string): Promise<{ readonly file: string; readonly pairs: readonly ConceptPair[] }> {
  const file = resolvePath(name);
  return { file, pairs: parseConceptPairs(file, await readText(file)) };
}
