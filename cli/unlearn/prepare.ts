import { basename, dirname, resolve } from "node:path";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { nodeFiles, sha256File } from "../../engine/platform/node-files.ts";
import { pick } from "../../engine/options/values.ts";
import { changesSince } from "../../engine/run/changes.ts";
import { type PreparedUnlearn, unlearnOptions } from "../../engine/run/unlearn/execute.ts";
import { previewPrompts } from "../../engine/run/unlearn/previews.ts";
import { newUnlearnRecord } from "../../engine/run/unlearn/record.ts";
import { resultOf } from "../../engine/run/unlearn/settings.ts";
import { LAYOUTS } from "../../engine/unlearn/files/layouts.ts";
import { UNLEARN_OPTIONS } from "../../engine/unlearn/option-table.ts";
import { resolveUnlearn } from "../../engine/unlearn/options.ts";
import { checkWeights } from "../../engine/loading/check-weights.ts";
import { recordFiles } from "../attack/files.ts";
import type { Context } from "../context.ts";
import { openWithFiles } from "../model.ts";
import { requireWritableFolder } from "../output.ts";
import { placeOf } from "../place.ts";
import type { UnlearnStart } from "./begin.ts";
import { readPromptList, readTrainingPictures } from "./inputs.ts";
import { requireResultPlace } from "./result-place.ts";

/**
 * Opens and checks all that an erasing run needs, before anything is written.
 * @throws FormatError, InputError, UsageError, ... for whatever could not be used; NoAdapterError
 */
export async function prepareUnlearn(context: Context, run: UnlearnStart): Promise<PreparedUnlearn> {
  const { settings, out, files, showImages, earlier, saved, written } = run;
  await requireWritableFolder(dirname(resolve(out)));
  const retain = settings.retain === null ? undefined : await readPromptList(settings.retain);
  const own = settings.previews === null ? undefined : await readPromptList(settings.previews);
  const { model, files: opened } = await openWithFiles(context, settings);
  const { path: folder, variant } = opened[0]!;
  const { layout } = resultOf(settings, model.isXl ? "sdxl" : "sd");
  const named = [settings.retain, settings.previews, settings.images, settings.retainImages].filter((name) => name !== null);
  await requireResultPlace(run, layout, [...opened.map(({ path }) => path), ...named.map(resolvePath)]);
  const { concepts } = settings;
  const shown = settings.images === null ? undefined : await readTrainingPictures(settings.images, model, concepts[0]);
  const kept = settings.retainImages === null ? undefined : await readTrainingPictures(settings.retainImages, model, undefined);
  const images = {
    ...(shown && { concept: shown.pictures }),
    ...(kept && { retain: kept.pictures }),
  };
  const prompts = retain?.prompts ?? [];
  const resolved = resolveUnlearn(model, unlearnOptions(settings, { retain: prompts, images }));
  checkWeights(model);
  const records = await recordFiles([
    ...opened,
    ...(retain ? [{ role: "retained prompts", path: retain.file }] : []),
    ...(shown?.files ?? []).map((path) => ({ role: "picture", path })),
    ...(kept?.files ?? []).map((path) => ({ role: "retained picture", path })),
  ]);
  const { paper, code } = resolved.published;
  const effective = pick(UNLEARN_OPTIONS, { ...resolved });
  const place = placeOf(context.options, model.device, { showImages }, out);
  const record = newUnlearnRecord({ settings, recipe: { name: resolved.recipe, paper, code }, effective, out }, place, records);
  if (earlier) for (const change of changesSince(earlier, record)) context.warn(change);
  const { ending } = LAYOUTS[layout];
  if (!out.toLowerCase().endsWith(ending)) {
    context.warn(`${out} does not end in ${ending}, which layout ${layout} writes: other tools may go by the name`);
  }
  return {
    model, images, files, saved, showImages,
    replaced: written,
    base: { files: nodeFiles, folder, variant },
    retain: prompts,
    previews: previewPrompts(concepts, prompts, own?.prompts),
    record: earlier ? { ...record, started: earlier.started } : record,
    output: folderStore(dirname(resolve(out))),
    name: basename(out),
    sha256: (name) => sha256File(resolve(dirname(resolve(out)), name)),
  };
}
