import { executeRun } from "../../engine/run/execute.ts";
import type { PreparedRun, RunWatcher } from "../../engine/run/prepared.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import type { Context } from "../context.ts";
import { sayHowToGoOn } from "../resumable.ts";
import { AttackProgress } from "./progress.ts";

/** Runs a prepared attack, its progress on stderr. @throws what the attack throws, after its files are written */
export function runPrepared(
  context: Context,
  run: PreparedRun,
  watcher: Pick<RunWatcher, "onDrawn" | "onResult"> = {},
): Promise<RunRecord> {
  const { saved, record } = run;
  if (saved) context.say(`going on after ${saved.state.iteration} iterations`);
  return context.withProgress("attack", async (progress) => {
    const shown = new AttackProgress(progress, record.settings, saved?.state.iteration);
    return executeRun(run, {
      ...watcher,
      signal: context.signal,
      say: (line) => context.say(line),
      onEvent: (event) => shown.handle(event),
    });
  });
}

/** The same, with what is attacked said before. @param out the run's folder @throws what stopped it, after saying how to go on */
export async function runAnnounced(context: Context, run: PreparedRun, out: string): Promise<RunRecord> {
  const { settings: { unet, textEncoder, model }, resumeCommand } = run.record;
  context.say(`attacking ${unet ?? textEncoder ?? model} on ${run.model.device.description}`);
  try {
    return await runPrepared(context, run);
  } catch (error) {
    sayHowToGoOn(context, error, out, resumeCommand);
    throw error;
  }
}
