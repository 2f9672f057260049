import type { Command } from "commander";
import { rm } from "node:fs/promises";
import { LAYOUTS } from "../../engine/unlearn/files/layouts.ts";
import { RECIPES } from "../../engine/unlearn/recipes.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { formatBytes, formatDuration, quoted } from "../../engine/run/text/format.ts";
import { type UnlearnWatcher, executeUnlearn } from "../../engine/run/unlearn/execute.ts";
import { UnlearnFiles } from "../../engine/run/unlearn/files.ts";
import type { UnlearnRecord } from "../../engine/run/unlearn/record.ts";
import {
  type GivenUnlearn, type UnlearnSettings, UNLEARN_COMMAND_OPTIONS, newUnlearnSettings, resultOf, resumedUnlearn,
} from "../../engine/run/unlearn/settings.ts";
import { DeviceLostError, UsageError } from "../../engine/runtime/errors.ts";
import { SHOW_IMAGES } from "../shown.ts";
import { type Context, action } from "../context.ts";
import { addNotes } from "../help/format.ts";
import { PATHS_NOTE } from "../model.ts";
import { MODEL_NAMES } from "../model-source.ts";
import { addOptions } from "../option-flags.ts";
import { someText } from "../options.ts";
import { exists } from "../output.ts";
import { prepareUnlearn } from "../unlearn/prepare.ts";
import { UnlearnProgress } from "../unlearn/progress.ts";

/** What the command line gave; nothing is filled in yet. */
export interface UnlearnFlags extends Omit<GivenUnlearn, "concepts"> {
  readonly concept?: readonly string[];
  readonly out: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly showImages?: boolean;
}

export function unlearnCommand(program: Command): void {
  const command = program
    .command("unlearn")
    .description("make a model forget a concept by a published method; writes the weights in its authors' layout, a log and a report");
  const { model, ...options } = UNLEARN_COMMAND_OPTIONS;
  addNotes(command, `\n${recipesHelp()}\n\n${layoutsHelp()}\n${PATHS_NOTE}`);
  // None has a default here, so that --resume can tell what was given.
  addOptions(command, { model: { ...model, help: MODEL_NAMES }, ...options, method: { ...options.method, help: "how it is erased" } })
    .option("--concept <text>", "what is erased; give it several times for several concepts", (text, before: string[] = []) => [
      ...before,
      someText(text),
    ])
    .requiredOption("--out <file>", "where the weights go; beside it FILE.run/ gets log.jsonl, images, run.json and report.html")
    .option("--resume", "go on where an interrupted run stood; its settings need not be given again")
    .option("--overwrite", "replace what --out holds; without it a file or run that is there is refused")
    .option(...SHOW_IMAGES)
    .action(action<UnlearnFlags>((flags, context) => run(flags, context)));
}

function recipesHelp(): string {
  const lines = Object.entries(RECIPES).map(([name, { methods, code }]) => `  ${name}: ${methods.join(", ")}; as ${code}`);
  return `Recipes (the first that names a method is its default):\n${lines.join("\n")}`;
}

function layoutsHelp(): string {
  return `Layouts:\n${Object.entries(LAYOUTS).map(([name, { help }]) => `  ${name}: ${help}`).join("\n")}`;
}

/** What `unlearn --json` prints. */
export interface UnlearnJson {
  readonly method: string;
  readonly recipe: string;
  readonly concepts: readonly string[];
  readonly steps: number;
  readonly loss: number | null;
  readonly seconds: number;
  readonly adapter: string;
  readonly peakBytes: number;
  readonly out: string;
  readonly sha256: string;
}

function unlearnJson({ settings, recipe, result, seconds, device, peakBytes }: UnlearnRecord, out: string): UnlearnJson {
  const { steps, loss, sha256 } = result!;
  return {
    method: settings.method, recipe: recipe.name, concepts: settings.concepts, steps, loss, seconds, adapter: device.adapter, peakBytes,
    out,
    sha256,
  };
}

async function run(flags: UnlearnFlags, context: Context): Promise<void> {
  if (flags.resume && flags.overwrite) {
    throw new UsageError("--resume goes on with what is there, --overwrite replaces it: give one of them");
  }
  const { out } = flags;
  const files = new UnlearnFiles(folderStore(`${out}.run`));
  const earlier = flags.overwrite ? undefined : await files.earlier(); // what is replaced need not be readable
  const given: GivenUnlearn = { ...flags, concepts: flags.concept };
  if (earlier?.status === "finished" && flags.resume && (await exists(out))) {
    resumedUnlearn(given, earlier.settings, out);
    context.say(`the run of ${out} is finished`);
    show(context, earlier, out, files);
    return;
  }
  if (!flags.resume && !flags.overwrite && (earlier || (await exists(out)))) {
    const what = !earlier ? "is there already" : earlier.status === "finished" ? "is there already, with its run" : "has an unfinished run";
    throw new UsageError(
      `${out} ${what}, which would be lost: add ${earlier ? "--resume to go on with it or " : ""}--overwrite to replace it, ` +
        "or give another name",
    );
  }
  if (flags.overwrite) await rm(out, { recursive: true, force: true });
  const settings = earlier ? resumedUnlearn(given, earlier.settings, out) : newUnlearnSettings(given);
  show(context, await makeErased(context, settings, out, files, flags, earlier), out, files);
}

/**
 * Erases and writes the result, progress on stderr.
 * @param earlier a run that is gone on with
 * @throws what stopped the run, after saying how to go on
 */
export async function makeErased(
  context: Context,
  settings: UnlearnSettings,
  out: string,
  files: UnlearnFiles,
  { showImages = false }: Pick<UnlearnFlags, "showImages">,
  earlier?: UnlearnRecord,
  watcher: Pick<UnlearnWatcher, "onDone"> = {},
): Promise<UnlearnRecord> {
  const saved = earlier && (await files.saved());
  const prepared = await prepareUnlearn(context, settings, { out, files, showImages, earlier, saved });
  const { model, record } = prepared;
  const { layout } = resultOf(settings, model.isXl ? "sdxl" : "sd");
  const { ending } = LAYOUTS[layout];
  if (ending !== "" && !out.toLowerCase().endsWith(ending)) {
    context.warn(`${out} does not end in ${ending}, which layout ${layout} writes: other tools may go by the name`);
  }
  context.say(`erasing ${settings.concepts.map(quoted).join(", ")} by ${record.recipe.name} on ${model.device.description}`);
  if (saved) context.say(`going on after step ${saved.training.step}`);
  try {
    return await context.withProgress("erasing", async (progress) => {
      const shown = new UnlearnProgress(progress);
      return executeUnlearn(prepared, {
        ...watcher,
        signal: context.signal,
        say: (line) => context.say(line),
        onEvent: (event) => shown.handle(event),
        onPreview: (line) => shown.preview(line, `${out}.run`),
      });
    });
  } catch (error) {
    const resumable = (error instanceof Error && error.name === "AbortError") || error instanceof DeviceLostError;
    if (resumable) context.say(`what was done is in ${out}.run; to go on: ${record.resumeCommand}`);
    throw error;
  } finally {
    await model.destroy();
  }
}

/** The outcome: JSON or a few lines on stdout, the rest on stderr. */
function show(context: Context, record: UnlearnRecord, out: string, files: UnlearnFiles): void {
  const json = unlearnJson(record, out);
  const { steps, seconds, loss, adapter, peakBytes, sha256 } = json;
  context.say(`${steps} steps in ${formatDuration(seconds)} on ${adapter}; peak device memory ${formatBytes(peakBytes)}`);
  context.say(`report: ${files.reportFile}`);
  const last = loss === null ? "" : `, last loss ${loss.toFixed(4)}`;
  context.result(json, `${out}: ${json.concepts.map(quoted).join(", ")} erased by ${json.recipe}${last}\nSHA-256 ${sha256}`);
}
