import { join } from "node:path";
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import { fitAndSay } from "../fit.ts";
import { generate, generateSettings } from "../../engine/diffusion/generate.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { makeFolder, readBytes, writeFileAtomic } from "../../engine/platform/node-files.ts";
import type { Context } from "../context.ts";
import { readPrompts } from "../evaluate/prompts.ts";
import { namedPrompts, openLearned, warnOfPrompts, warnOfUnused } from "./generate-prompts.ts";
import type { GenerateFlags } from "./generate-flags.ts";
import { openModel } from "../model.ts";
import { givenModelFlags } from "../../engine/run/settings/model-options.ts";
import { requireWritableFolder } from "../output.ts";
import { pngTexts } from "../../engine/run/text/png-texts.ts";
import { formatBytes, formatDuration } from "../../engine/run/text/format.ts";
import { VERSION } from "../../engine/run/version.ts";

/**
 * Draws every row of a prompts table: the data set of a concept, as an attack's targets are kept. OUT/imgs/CASE_0.png (CASE_1.png ... with
 * --count), and a copy of the table as OUT/prompts.csv once all pictures are there. Each picture appears whole or not at all.
 * Source of the layout: Diffusion-MU-Attack, files/dataset/CONCEPT.
 * @throws FormatError for the table or the folder; AbortError between two pictures
 */
export async function generateTable(context: Context, flags: GenerateFlags & { readonly promptsCsv: string }): Promise<void> {
  const begun = performance.now();
  const rows = await readPrompts(flags.promptsCsv);
  await requireWritableFolder(flags.out);
  const files = await openLearned(context, flags.embedding);
  const model = await openModel(context, flags);
  const learned = warnOfPrompts(context, model, files, namedPrompts(rows, flags.negativePrompt));
  const planned = rows.map(({ id, prompt, seed, guidance = flags.guidance }) => {
    const options = { ...flags, prompt, seed, guidance, learned };
    return { id, options, settings: generateSettings(model, options) }; // refuses what cannot be before anything is drawn
  });
  warnOfUnused(
    context,
    flags,
    planned.map(({ settings }) => settings),
  );
  if (flags.guidance !== undefined && rows.every(({ guidance }) => guidance !== undefined)) {
    context.warn("--guidance changes nothing: every row of the table has a guidance of its own");
  }
  if (flags.dryRun) {
    const seconds = (performance.now() - begun) / 1000;
    context.say(`every row was checked in ${formatDuration(seconds)}; nothing was drawn`);
    const empty = planned.filter(({ settings }) => settings.prompt.trim() === "").length;
    return context.result(
      { dryRun: true, prompts: rows.length, emptyPrompts: empty, seconds },
      `${rows.length} prompts to draw, ${empty} of them empty`,
    );
  }
  const { width, height } = planned[0]!.settings;
  const guided = planned.some(({ settings }) => settings.guidance > 1);
  await fitAndSay(context, model, { width, height, rows: flags.sld ? 3 : guided ? 2 : 1, pictures: 1, attackRows: 0 });
  await makeFolder(join(flags.out, "imgs"));
  const started = performance.now();
  const adapter = model.device.description;
  const extra = {
    model: flags.model,
    ...givenModelFlags(flags),
    ...(flags.embedding && { embedding: flags.embedding }),
    weights: context.options.weights ?? "f32",
    adapter,
    version: VERSION,
  };
  const written: { readonly file: string; readonly case: string; readonly prompt: string; readonly seed: number }[] = [];
  await context.withProgress("drawing", async (progress) => {
    for (const [i, { id, options, settings }] of planned.entries()) {
      const images = await generate(model, {
        ...options,
        signal: context.signal,
        onStep: (done, total) => progress.update((i + done / total) / rows.length, `${i + 1}/${rows.length}  step ${done}/${total}`),
      });
      for (const [n, { seed: own, image }] of images.entries()) {
        const file = join(flags.out, "imgs", `${id}_${n}.png`);
        await writeFileAtomic(file, encodePng(image, { ...pngTexts(settings, own, extra) }));
        written.push({ file, case: id, prompt: settings.prompt, seed: own });
      }
    }
  });
  await writeFileAtomic(join(flags.out, "prompts.csv"), await readBytes(resolvePath(flags.promptsCsv)));
  const seconds = (performance.now() - started) / 1000;
  const { peakBytes } = model.device.usage;
  context.say(
    `${written.length} pictures of ${rows.length} prompts in ${formatDuration(seconds)} on ${adapter}; peak device memory ` +
      `${formatBytes(peakBytes)}`,
  );
  context.result(
    { out: flags.out, images: written, model: flags.model, seconds, adapter, peakBytes },
    written.map((w) => w.file).join("\n"),
  );
}
