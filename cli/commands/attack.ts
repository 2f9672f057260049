import type { Command } from "commander";
import { attackJson } from "../../engine/run/json.ts";
import { beginRun } from "../attack/begin.ts";
import type { Opening } from "../attack/opening.ts";
import { showOutcome } from "../attack/outcome.ts";
import { prepareAndRun } from "../attack/run.ts";
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
  const record = finished ?? (await prepareAndRun(context, run, opening));
  showOutcome(context, attackJson(record, out), files.reportFile);
}
