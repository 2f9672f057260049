/**
 * Ways to compute a flash pass. "rows": whole rows to a lane. "tiled-8", "tiled-4": tiles over workgroup memory, with so many rows of the
 * smaller heads to a thread: eight read the least, four keep more threads busy. "tiled-small": the same in blocks of 16 rows, for short
 * prompts.
 * "matrix": f16 operands on matrix units. "matrix-2": with twice as many rows to a subgroup, which reads half as much and leaves fewer
 * workgroups.
 */
export const ATTENTION_FORMS = ["rows", "tiled-8", "tiled-4", "tiled-small", "matrix", "matrix-2"] as const;
export type AttentionForm = (typeof ATTENTION_FORMS)[number];

/** The three flash passes: outputs, the gradient of queries, the gradient of keys and values. */
export type PassName = "forward" | "query" | "key-value";

/** Passes that are alike enough for one form to be the best for all of them. */
export const ATTENTION_CLASSES = [
  "forward tiny",
  "forward small",
  "forward large",
  "query tiny",
  "query small",
  "query large",
  "key-value tiny",
  "key-value small",
  "key-value large",
] as const;
export type AttentionClass = (typeof ATTENTION_CLASSES)[number];

/** The form for each class of pass. */
export type AttentionTable = Readonly<Record<AttentionClass, AttentionForm>>;

/**
 * Products of queries, keys, heads and channels below which a pass is "small": 1024 tokens of 8 heads of 80 are large, 4096 queries of 77
 * keys are not.
 */
const SMALL = 2 ** 29;
/** The same for "tiny": 77 tokens of 12 heads of 64 are, 256 tokens of 8 heads of 160 are not. */
const TINY = 2 ** 25;

/** @param products queries * keys * heads * channels of a head, all batches */
export function attentionClass(pass: PassName, products: number): AttentionClass {
  return `${pass} ${products < TINY ? "tiny" : products < SMALL ? "small" : "large"}`;
}

/** One form for every class. */
export function uniformAttention(form: AttentionForm): AttentionTable {
  return Object.fromEntries(ATTENTION_CLASSES.map((c) => [c, form])) as AttentionTable;
}
