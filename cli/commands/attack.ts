import type { Command } from "commander";
import { attackJson } from "../../engine/run/json.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import { DeviceLostError } from "../../engine/runtime/errors.ts";
import { type RunStart, beginRun } from "../attack/begin.ts";
import type { Opening } from "../attack/opening.ts";
import { showOutcome } from "../attack/outcome.ts";
import { prepareRun } from "../attack/prepare.ts";
import { runPrepared } from "../attack/run.ts";
import { type AttackFlags, addAttackOptions } from "../attack/settings.ts";
import { type Context, action } from "../context.ts";

export function attackCommand(program: Command): void {
  const command = program
    .command("attack")
    .description("search for a prompt that makes the model draw an erased concept; writes a log, pictures and a report");
  addAttackOptions(command).action(action<AttackFlags>((flags, context) => runAttack(flags, context)));
}

/** What `lethe attack` does. @param opening how model and judge are opened @throws what stopped the attack, after saying how to go on */
export async function runAttack(flags: AttackFlags, context: Context, opening?: Opening): Promise<void> {
  const run = await beginRun(flags);
  const { out, earlier, files } = run;
  const finished = earlier?.status === "finished" ? earlier : undefined;
  if (finished) context.say(`the run in ${out} is finished`);
  showOutcome(context, attackJson(finished ?? (await attackNow(context, run, opening)), out), files.reportFile);
}

async function attackNow(context: Context, run: RunStart, opening: Opening | undefined): Promise<RunRecord> {
  const prepared = await prepareRun(context, run, opening);
  const { unet, textEncoder, model } = run.settings;
  context.say(`attacking ${unet ?? textEncoder ?? model} on ${prepared.model.device.description}`);
  try {
    return await runPrepared(context, prepared);
  } catch (error) {
    const resumable = (error instanceof Error && error.name === "AbortError") || error instanceof DeviceLostError;
    if (resumable) context.say(`what was done is in ${run.out}; to go on: ${prepared.record.resumeCommand}`);
    throw error;
  }
}
