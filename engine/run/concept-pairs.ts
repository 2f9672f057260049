import type { ConceptPair } from "../attack/search/concept-vector.ts";
import { FormatError } from "../formats/errors.ts";
import { parseJson } from "../formats/file-system.ts";
import { parseCsv } from "../formats/text/csv.ts";

/**
 * Pairs of prompts that differ by a concept: a CSV with the columns `with` and `without`, or (.json) a list of [with, without] or { with,
 * without }.
 * "without" may be empty.
 * @param file its name, which says by its ending what it is
 * @throws FormatError for another form, an empty list or a pair of equal prompts
 */
export function parseConceptPairs(file: string, text: string): readonly ConceptPair[] {
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
  return pairs;
}

function fromJson(file: string, text: string): ConceptPair[] {
  const list = parseJson(file, text.replace(/^\ufeff/, ""));
  if (!Array.isArray(list)) throw new FormatError(file, "is not a list of pairs [with, without]");
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
