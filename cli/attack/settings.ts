import type { Command } from "commander";
import { JUDGES } from "../../engine/attack/judges/options.ts";
import { RUN_OPTIONS } from "../../engine/run/settings/option-table.ts";
import type { GivenSettings } from "../../engine/run/settings/settings.ts";
import { OPEN } from "../terminal/open.ts";
import { SHOW_IMAGES, SHOW_PROMPTS, type Shown } from "../shown.ts";
import { addNotes } from "../help/format.ts";
import { PATHS_NOTE } from "../model.ts";
import { MODEL_NAMES } from "../model-source.ts";
import { addOptions } from "../option-flags.ts";

/** What the command line gave; nothing is filled in yet. */
export type AttackFlags = GivenSettings & Shown & {
  readonly out: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
};

/** The flags of `attack`. None has a default here, so that --resume can tell what was given. */
export function addAttackOptions(command: Command): Command {
  addOptions(command, { ...RUN_OPTIONS, model: { ...RUN_OPTIONS.model, help: MODEL_NAMES } })
    .requiredOption("--out <dir>", "folder for attack.jsonl, images, run.json and report.html")
    .option("--resume", "go on where an interrupted run in --out stood; its settings need not be given again")
    .option("--overwrite", "replace the run that --out holds; without it a folder that holds one is refused")
    .option(...OPEN)
    .option(...SHOW_IMAGES)
    .option(...SHOW_PROMPTS);
  return addNotes(
    command,
    `\nJudges, and what each calls a success (emoji-object and emoji-style are bundled classifiers):\n${Object.entries(JUDGES)
        .map(([name, rule]) => `  ${name}: ${rule}`)
        .join("\n")}\n${PATHS_NOTE}`,
  );
}
