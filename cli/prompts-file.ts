import { FormatError } from "../engine/formats/errors.ts";
import { resolvePath } from "../engine/platform/model-source-node.ts";
import { readText } from "../engine/platform/node-files.ts";

/** The prompts of a text file, one a line; empty lines do not count. @throws FormatError if there are fewer than two, or one twice */
export async function readPrompts(name: string): Promise<{ readonly file: string; readonly prompts: readonly string[] }> {
  const file = resolvePath(name);
  const text = await readText(file);
  const prompts = text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/).map((line) => line.trim()).filter((line) => line !== "");
  if (prompts.length < 2) throw new FormatError(file, `holds ${prompts.length === 1 ? "1 prompt" : "no prompts"}; at least 2 are needed to choose between, one a line`);
  const twice = prompts.findIndex((p, i) => prompts.indexOf(p) !== i);
  if (twice >= 0) throw new FormatError(file, `holds the prompt ${JSON.stringify(prompts[twice])} twice`);
  return { file, prompts };
}
