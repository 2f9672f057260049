import { attackResolved } from "../attack/run.ts";
import { errorMessage } from "../runtime/errors.ts";
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
  try {
    const options = { ...run.options, drawn, resume: saved?.state, signal, watchSlots };
    const result = await attackResolved(model, options, (event) => writer.handle(event));
    watcher.onResult?.(result);
    const finished = await writer.finish("finished", { ...result, seconds: writer.seconds }, null);
    await files.dropState();
    return finished;
  } catch (error) {
    const status = error instanceof Error && error.name === "AbortError" ? "interrupted" : "failed";
    await writer
      .finish(status, null, error)
      .catch((second: unknown) => watcher.say?.(`the report could not be written: ${errorMessage(second)}`));
    throw error;
  } finally {
    files.close();
  }
}
