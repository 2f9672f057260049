import type { Command } from "commander";
import { UNLEARN_COMMAND_OPTIONS } from "../../engine/run/unlearn/settings.ts";
import { LAYOUTS } from "../../engine/unlearn/files/layouts.ts";
import { RECIPES } from "../../engine/unlearn/recipes.ts";
import { type Context, action } from "../context.ts";
import { addNotes } from "../help/format.ts";
import { MODEL_NAMES } from "../model-source.ts";
import { PATHS_NOTE } from "../model.ts";
import { addOptions } from "../option-flags.ts";
import { someText } from "../options.ts";
import { SHOW_IMAGES } from "../shown.ts";
import { OPEN } from "../terminal/open.ts";
import { type UnlearnFlags, beginUnlearn, isDone } from "../unlearn/begin.ts";
import { showUnlearned } from "../unlearn/outcome.ts";
import { prepareUnlearn } from "../unlearn/prepare.ts";
import { runUnlearn } from "../unlearn/run.ts";

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
    .option(...OPEN)
    .action(action<UnlearnFlags>((flags, context) => run(flags, context)));
}

function recipesHelp(): string {
  const lines = Object.entries(RECIPES).map(([name, { methods, code }]) => `  ${name}: ${methods.join(", ")}; as ${code}`);
  return `Recipes (the first that names a method is its default):\n${lines.join("\n")}`;
}

function layoutsHelp(): string {
  return `Layouts:\n${Object.entries(LAYOUTS).map(([name, { help }]) => `  ${name}: ${help}`).join("\n")}`;
}

async function run(flags: UnlearnFlags, context: Context): Promise<void> {
  const start = await beginUnlearn(flags);
  const { out, earlier, files } = start;
  const done = await isDone(earlier, out);
  if (done) context.say(`the run of ${out} is finished`);
  const record = done ? earlier! : await runUnlearn(context, await prepareUnlearn(context, start), out);
  showUnlearned(context, record, out, files.reportFile);
}
