import type { Command } from "commander";
import { DeviceLostError, UsageError } from "../../engine/runtime/errors.ts";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { RunFiles } from "../../engine/run/files.ts";
import { type AttackJson, attackJson } from "../../engine/run/json.ts";
import { runPrepared } from "../attack/run.ts";
import { withFirstCase } from "../attack/cases.ts";
import { type Opening, prepareRun } from "../attack/prepare.ts";
import { type AttackFlags, addAttackOptions } from "../attack/settings.ts";
import { newSettings, resumedSettings } from "../../engine/run/settings/settings.ts";
import { reportExtras } from "../shown.ts";
import { type Context, action } from "../context.ts";
import { formatBytes, formatDuration, quoted } from "../../engine/run/text/format.ts";

export function attackCommand(program: Command): void {
  const command = program
    .command("attack")
    .description("search for a prompt that makes the model draw an erased concept; writes a log, pictures and a report");
  addAttackOptions(command).action(action<AttackFlags>((flags, context) => runAttack(flags, context)));
}

/** What `lethe attack` does. @param opening how model and judge are opened @throws what stopped the attack, after saying how to go on */
export async function runAttack(flags: AttackFlags, context: Context, opening?: Opening): Promise<void> {
  if (flags.resume && flags.overwrite) {
    throw new UsageError("--resume goes on with what is there, --overwrite replaces it: give one of them");
  }
  const files = new RunFiles(folderStore(flags.out));
  const earlier = flags.overwrite ? undefined : await files.earlier(); // what is replaced need not be readable
  if (earlier && flags.resume && earlier.status === "finished") {
    resumedSettings(flags, earlier.settings, flags.out);
    context.say(`the run in ${flags.out} is finished`);
    show(context, attackJson(earlier, flags.out), files);
    return;
  }
  if (!flags.resume && !flags.overwrite && (await files.holdsRun())) {
    const state = earlier?.status === "finished" ? "a finished attack" : "an unfinished attack";
    throw new UsageError(
      `${flags.out} holds ${state}, which would be lost: add --resume to go on with it or --overwrite to replace it, ` +
        "or give another folder",
    );
  }
  const saved = earlier && earlier.status !== "finished" && flags.resume ? await files.saved() : undefined;
  const settings = earlier && flags.resume ? resumedSettings(flags, earlier.settings, flags.out) : newSettings(await withFirstCase(flags));
  const prepared = await prepareRun(
    context,
    settings,
    flags.out,
    reportExtras(flags),
    flags.resume ? earlier : undefined,
    saved,
    opening,
  );
  context.say(`attacking ${settings.unet ?? settings.textEncoder ?? settings.model} on ${prepared.model.device.description}`);
  try {
    show(context, attackJson(await runPrepared(context, prepared), flags.out), files);
  } catch (error) {
    const resumable = (error instanceof Error && error.name === "AbortError") || error instanceof DeviceLostError;
    if (resumable) context.say(`what was done is in ${flags.out}; to go on: ${prepared.record.resumeCommand}`);
    throw error;
  }
}

/** The outcome: JSON or a few lines on stdout, the rest on stderr. */
function show(context: Context, json: AttackJson, files: RunFiles): void {
  context.say(
    `${json.iterations} iterations in ${formatDuration(json.seconds)} on ${json.adapter}; ` +
      `peak device memory ${formatBytes(json.peakBytes)}`,
  );
  context.report(files.reportFile);
  const found = json.preSuccess ? "the original prompt draws the concept already" : json.success ? "found" : "not found";
  if (json.notPortable !== undefined) {
    context.say(`the prompt is not portable: ${json.notPortable}; --vocabulary typeable searches for one that is`);
  }
  context.result(json, `${found}: ${quoted(json.adversarialPrompt)}, judged ${json.label}, score ${json.score.toFixed(4)}`);
}
