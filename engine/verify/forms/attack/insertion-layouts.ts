import { slotLayout, type Insertion } from "../../../attack/search/slot-layout.ts";
import { errorMessage } from "../../../runtime/errors.ts";
import type { Form } from "../../check.ts";

/** The insertion places by the references' names. */
export const INSERTIONS: Readonly<Record<string, Insertion>> = {
  prefix_k: "prefix",
  suffix_k: "suffix",
  mid_k: "middle",
  insert_k: "interleave",
  per_k_words: "every-k",
};

/**
 * `insertion_layouts`: where the adversarial tokens stand, on marker ids: -100 bos, 1..L the prompt, -1..-k the tokens. Needs no device.
 */
export const insertionLayouts: Form = async ({ golden, rows }) => {
  let length = 77;
  const table = golden.objects("table");
  for (const entry of table) if (typeof entry["total"] === "number") length = entry["total"];
  for (const entry of table) {
    const name = `${String(entry["loc"])} k=${String(entry["k"])} L=${String(entry["L"])}`;
    await rows.guard(name, "ids", () => {
      const [k, promptLength] = [golden.number("k", entry), golden.number("L", entry)];
      const insertion = golden.choice("loc", INSERTIONS, entry);
      const attempt = (): number[] => {
        const layout = slotLayout(insertion, k, promptLength, length);
        const ids = [-100, ...Array.from({ length: promptLength + k }, () => 0)];
        layout.prompt.forEach((position, j) => (ids[position] = j + 1));
        layout.slots.forEach((position, j) => (ids[position] = -(j + 1)));
        return ids;
      };
      if (entry["error"] === undefined) return rows.compare(name, "ids", attempt(), golden.numbers("ids", entry), 0, "mismatches");
      try {
        attempt();
      } catch (error) {
        return rows.error(name, "error", 0, 0, "mismatches", `refused: ${errorMessage(error)}`);
      }
      rows.failed(name, "error", `should be refused (the reference raises ${String(entry["error"])})`);
    });
  }
};
