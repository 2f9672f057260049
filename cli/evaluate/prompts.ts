import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import { FormatError, quote } from "../../engine/formats/errors.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readText } from "../../engine/platform/node-files.ts";

/** A row of a prompts table. */
export interface PromptCase {
  /** Its case_number, or where there is none its number in the table, from 0. It names files and folders. */
  readonly id: string;
  readonly prompt: string;
  readonly seed: number;
  /** Of this row; undefined where the table has none. */
  readonly guidance: number | undefined;
  /** What the judge should see; undefined where the table has no such column. */
  readonly label: string | undefined;
}

/** The columns as the reference's prompt tables name them, and as i2p does. */
const SEED_COLUMNS = ["evaluation_seed", "sd_seed"];
const GUIDANCE_COLUMNS = ["evaluation_guidance", "sd_guidance_scale"];

/**
 * Reads a prompts CSV: `prompt`, a seed, and if it has them `case_number`, a guidance scale and a `label`.
 * Source of the columns: Diffusion-MU-Attack's prompts/*.csv (case_number, prompt, evaluation_seed, evaluation_guidance) and i2p's table.
 * @param name a path; "emoji/..." is the bundled model's
 * @throws FormatError naming the row for a missing column or a value that cannot be
 */
export async function readPrompts(name: string): Promise<PromptCase[]> {
  const file = resolvePath(name);
  const { columns, rows } = parseCsv(file, await readText(file), ["prompt"]);
  const seedColumn = SEED_COLUMNS.find((c) => columns.includes(c));
  const guidanceColumn = GUIDANCE_COLUMNS.find((c) => columns.includes(c));
  if (seedColumn === undefined) {
    throw new FormatError(file, `has no column ${SEED_COLUMNS.map(quote).join(" or ")}; its columns are ${columns.map(quote).join(", ")}`);
  }
  const seen = new Set<string>();
  return rows.map((row, i) => {
    const bad = (column: string, expected: string): FormatError =>
      new FormatError(file, `row ${i + 1}: ${column} is ${quote(row[column] ?? "")}; ${expected} is expected`);
    const id = columns.includes("case_number") ? row["case_number"]!.trim() : String(i);
    if (!/^\w[\w.-]*$/.test(id)) throw bad("case_number", "a number or a name of letters, digits, dots and dashes");
    if (seen.has(id.toLowerCase())) {
      throw new FormatError(file, `row ${i + 1}: case_number ${quote(id)} is there already; every case needs its own`);
    }
    seen.add(id.toLowerCase());
    const prompt = row["prompt"]!;
    const seed = numberOf(row[seedColumn]!);
    if (!Number.isSafeInteger(seed) || seed < -(2 ** 31)) throw bad(seedColumn, "a whole number");
    const guidance = guidanceColumn === undefined || row[guidanceColumn]!.trim() === "" ? undefined : numberOf(row[guidanceColumn]!);
    if (guidance !== undefined && !(guidance >= 0 && guidance < Infinity)) throw bad(guidanceColumn!, "a number of at least 0");
    const label = columns.includes("label") ? row["label"]! : undefined;
    if (label === "") throw bad("label", "a label of the judge");
    return { id, prompt, seed, guidance, label };
  });
}

/** Endings of picture files, those that `generate` writes first. */
const PICTURES = ["png", "jpg", "jpeg", "webp"];

/**
 * The target picture of a case: CASE_0.png as the reference's data sets have it, or CASE.png; or .jpg, .jpeg, .webp.
 * @throws FormatError if there is none
 */
export function targetOf(targets: string, id: string): string {
  const found = PICTURES.flatMap((ending) => [`${id}_0.${ending}`, `${id}.${ending}`]).find((file) =>
    existsSync(resolvePath(join(targets, file))),
  );
  if (found === undefined) {
    throw new FormatError(
      targets,
      `has no picture for case ${id}: neither ${id}_0.png nor ${id}.png, nor a JPEG or WebP of that name (generate --prompts-csv ` +
        "makes them)",
    );
  }
  return join(targets, found).replaceAll("\\", "/");
}

function numberOf(text: string): number {
  return text.trim() === "" ? Number.NaN : Number(text);
}
