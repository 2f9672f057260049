import { FormatError } from "../errors.ts";
import { type FileSystem, readTextFile } from "../file-system.ts";

/** The prompts of a text file, one a line; empty lines do not count. @throws FormatError if there are fewer than two, or one twice */
export async function readPromptLines(files: FileSystem, file: string): Promise<readonly string[]> {
  const prompts = (await readTextFile(files, file))
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (prompts.length < 2) {
    throw new FormatError(
      file,
      `holds ${prompts.length === 1 ? "1 prompt" : "no prompts"}; at least 2 are needed to choose between, one a line`,
    );
  }
  const twice = prompts.findIndex((p, i) => prompts.indexOf(p) !== i);
  if (twice >= 0) throw new FormatError(file, `holds the prompt ${JSON.stringify(prompts[twice])} twice`);
  return prompts;
}
