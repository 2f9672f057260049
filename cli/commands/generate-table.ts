import { join } from "node:path";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { makeFolder, readBytes, writeFileAtomic } from "../../engine/platform/node-files.ts";
import { formatBytes, formatDuration } from "../../engine/run/text/format.ts";
import type { Context } from "../context.ts";
import { readPrompts } from "../evaluate/prompts.ts";
import { requireWritableFolder } from "../output.ts";
import { type GenerateFlags, drawAll, planDrawing } from "./generate-drawing.ts";

/**
 * Draws every row of a prompts table: the data set of a concept, as an attack's targets are kept. OUT/imgs/CASE_0.png (CASE_1.png ... with
 * --count), and a copy of the table as OUT/prompts.csv once all pictures are there. Each picture appears whole or not at all.
 * Source of the layout: Diffusion-MU-Attack, files/dataset/CONCEPT.
 * @throws FormatError for the table or the folder; AbortError between two pictures
 */
export async function generateTable(context: Context, flags: GenerateFlags & { readonly promptsCsv: string }): Promise<void> {
  const begun = performance.now();
  const { out } = flags;
  const rows = await readPrompts(flags.promptsCsv);
  await requireWritableFolder(out);
  const drawing = await planDrawing(context, flags, rows);
  if (flags.guidance !== undefined && rows.every(({ guidance }) => guidance !== undefined)) {
    context.warn("--guidance changes nothing: every row of the table has a guidance of its own");
  }
  if (flags.dryRun) {
    const seconds = (performance.now() - begun) / 1000;
    context.say(`every row was checked in ${formatDuration(seconds)}; nothing was drawn`);
    const empty = drawing.planned.filter(({ settings }) => settings.prompt.trim() === "").length;
    return context.result(
      { dryRun: true, prompts: rows.length, emptyPrompts: empty, seconds },
      `${rows.length} prompts to draw, ${empty} of them empty`,
    );
  }
  await makeFolder(join(out, "imgs"));
  const { written, seconds } = await drawAll(
    context,
    flags,
    drawing,
    ({ id }, _, n) => join(out, "imgs", `${id}_${n}.png`),
    (i) => `${i + 1}/${rows.length}  `,
  );
  await writeFileAtomic(join(out, "prompts.csv"), await readBytes(resolvePath(flags.promptsCsv)));
  const { description: adapter, usage: { peakBytes } } = drawing.model.device;
  context.say(
    `${written.length} pictures of ${rows.length} prompts in ${formatDuration(seconds)} on ${adapter}; peak device memory ` +
      `${formatBytes(peakBytes)}`,
  );
  const images = written.map(({ file, row, settings, seed }) => ({ file, case: row.id, prompt: settings.prompt, seed }));
  context.result({ out, images, model: flags.model, seconds, adapter, peakBytes }, images.map(({ file }) => file).join("\n"));
}
