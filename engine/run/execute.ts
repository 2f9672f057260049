import { attackResolved } from "../attack/run.ts";
import { toTheEnd } from "./ending.ts";
import type { PreparedRun, RunWatcher } from "./prepared.ts";
import type { RunRecord } from "./record.ts";
import { RunWriter } from "./writer.ts";

/**
 * Runs an attack and writes everything down as it goes: a line and a picture per evaluation, the state after each timestep, and the record
 * and the report at the end, also when it was interrupted or failed.
 * @returns the finished run's record
 * @throws what the attack throws, after that
 */
export async function executeRun(run: PreparedRun, watcher: RunWatcher = {}): Promise<RunRecord> {
  const { files, saved, model, drawn } = run;
  const { signal, watchSlots } = watcher;
  const writer = await RunWriter.open(run, watcher);
  const work = async (): Promise<RunRecord> => {
    const options = { ...run.options, drawn, resume: saved?.state, signal, watchSlots };
    const result = await attackResolved(model, options, (event) => writer.handle(event));
    watcher.onResult?.(result);
    const finished = await writer.finish("finished", { ...result, seconds: writer.seconds }, null);
    await files.dropState();
    return finished;
  };
  try {
    return await toTheEnd(work, (status, error) => writer.finish(status, null, error), watcher.say);
  } finally {
    files.close();
  }
}
