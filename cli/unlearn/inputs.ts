import { join } from "node:path";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { parseCsv } from "../../engine/formats/text/csv.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles, readText } from "../../engine/platform/node-files.ts";
import { readPicture } from "../../engine/platform/picture/read-picture.ts";
import { fitTarget } from "../../engine/run/target.ts";
import type { TrainingPicture } from "../../engine/unlearn/options.ts";

const PICTURE = /\.(png|jpe?g|webp)$/i;

/**
 * Prompts of a file: a CSV (by its ending) with a column `prompt`, or a text file with one prompt a line. Empty lines of a text file do
 * not count, nor do prompts that were there before.
 * @throws FormatError for a table without that column, a file without prompts, or one that is not text
 */
export async function readPromptList(name: string): Promise<{ readonly file: string; readonly prompts: readonly string[] }> {
  const file = resolvePath(name);
  const content = await readText(file);
  if (content.includes("\0")) throw new FormatError(file, "is not a text file of prompts: it holds zero bytes");
  const prompts = /\.csv$/i.test(file)
    ? parseCsv(file, content, ["prompt"]).rows.map((row) => row["prompt"]!)
    : content.split(/\r\n|\r|\n/).map((line) => line.trim()).filter((line) => line !== "");
  if (prompts.length === 0) throw new FormatError(file, "holds no prompts; one a line is expected");
  return { file, prompts: [...new Set(prompts)] };
}

/**
 * Pictures of a folder with their prompts, made to fit the model: `imgs/CASE_N.png` beside a prompts.csv with the columns case_number and
 * prompt, as `generate --prompts-csv` makes them; or pictures alone, in the order of their names, all with one prompt.
 * @param prompt of pictures alone; undefined: they must have their own
 * @throws FormatError for a folder without pictures, a picture without a prompt, or one that cannot be read
 */
export async function readTrainingPictures(
  name: string,
  model: StableDiffusion,
  prompt: string | undefined,
): Promise<{ readonly pictures: readonly TrainingPicture[]; readonly files: readonly string[] }> {
  const folder = resolvePath(name);
  const table = join(folder, "prompts.csv");
  const listed = (await nodeFiles.kind(table)) === "file";
  if (!listed && prompt === undefined) {
    throw new FormatError(folder, "has no prompts.csv: what is to stay needs prompts (generate --prompts-csv makes such a folder)");
  }
  const prompts = listed ? await promptsByCase(table) : undefined;
  const inner = join(folder, "imgs");
  const from = listed && (await nodeFiles.kind(inner)) === "folder" ? inner : folder;
  const names = (await nodeFiles.list(from)).filter((file) => PICTURE.test(file));
  if (names.length === 0) throw new FormatError(from, "holds no pictures: PNG, JPEG or WebP files are expected");
  const pictures: TrainingPicture[] = [];
  const files: string[] = listed ? [table] : [];
  for (const own of names) {
    const id = own.replace(/\.\w+$/, "");
    const words = prompts ? (prompts.get(id) ?? prompts.get(id.replace(/_\d+$/, ""))) : prompt;
    if (words === undefined) throw new FormatError(join(from, own), `has no row in ${table}: case ${id} is not there`);
    const read = await readPicture(join(from, own));
    files.push(read.file);
    pictures.push({ image: fitTarget(read, model).array, prompt: words });
  }
  return { pictures, files };
}

async function promptsByCase(table: string): Promise<Map<string, string>> {
  const { columns, rows } = parseCsv(table, await readText(table), ["prompt"]);
  const id = (i: number): string => (columns.includes("case_number") ? rows[i]!["case_number"]!.trim() : String(i));
  return new Map(rows.map((row, i) => [id(i), row["prompt"]!]));
}
