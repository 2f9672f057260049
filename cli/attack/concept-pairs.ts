import type { ConceptPair } from "../../engine/attack/search/concept-vector.ts";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { parseJson } from "../../engine/formats/file-system.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readText } from "../../engine/platform/node-files.ts";

/**
 * Pairs of prompts that differ by a concept: a CSV with the columns `with` and `without`, or (.json) a list of [with, without] or { with,
 * without }.
 * "without" may be empty.
 * @throws FormatError for another form, an empty list or a pair of equal prompts
 */
export async function readConceptPairs(name: string): Promise<{ readonly file: string; readonly pairs: readonly ConceptPair[] }> {
  const file = resolvePath(name);
  const text = await readText(file);
  const pairs = /\.json$/i.test(file)
    ? fromJson(file, text)
    : parseCsv(file, text, ["with", "without"]).rows.map((row) => ({ with: row["with"]!, without: row["without"]! }));
  if (pairs.length === 0) throw new FormatError(file, "holds no pair of prompts");
  const bad = pairs.findIndex((pair) => pair.with.trim() === "" || pair.with === pair.without);
  if (bad >= 0) {
    throw new FormatError(
      file,
      `pair ${bad + 1} is ${JSON.stringify(pairs[bad])}: a prompt with the concept, and another one without, are expected`,
    );
  }
  return { file, pairs };
}

function fromJson(file: string, text: string): ConceptPair[] {
  const list = parseJson(file, text.replace(/^\ufeff/, ""));
  if (!Array.isArray(list)) throw new FormatError(file, "is no list of pairs [with, without]");
  return list.map((entry: unknown, i) => {
    const [a, b] =
      Array.isArray(entry) && entry.length === 2
        ? (entry as unknown[])
        : [(entry as Partial<ConceptPair> | null)?.with, (entry as Partial<ConceptPair> | null)?.without];
    if (typeof a !== "string" || typeof b !== "string") {
      throw new FormatError(file, `pair ${i + 1} is ${JSON.stringify(entry)}; [with, without], two texts, is expected`);
    }
    return { with: a, without: b };
  });
}
