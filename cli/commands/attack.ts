import type { Command } from "commander";
import { attackJson } from "../../engine/run/json.ts";
import { beginRun } from "../attack/begin.ts";
import type { Opening } from "../attack/opening.ts";
import { showOutcome } from "../attack/outcome.ts";
import { prepareRun } from "../attack/prepare.ts";
import { runAnnounced } from "../attack/run.ts";
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
  let record = earlier;
  if (record?.status === "finished") context.say(`the run in ${out} is finished`);
  else {
    const prepared = await prepareRun(context, run, opening);
    record = await runAnnounced(context, prepared, out);
  }
  showOutcome(context, attackJson(record, out), files.reportFile);
}
