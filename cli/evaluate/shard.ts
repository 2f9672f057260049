import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { InvalidArgumentError } from "commander";
import { FormatError } from "../../engine/formats/errors.ts";
import type { Shard } from "../../engine/run/leaderboard/manifest.ts";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";
import { exists } from "../output.ts";

/** "I/N", for commander. @throws InvalidArgumentError */
export function shardText(text: string): Shard {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text.trim())?.map(Number) ?? [];
  if (index === undefined || count === undefined || index < 1 || index > count) {
    throw new InvalidArgumentError("Expected I/N with I from 1 to N, for example 2/3.");
  }
  return { index, count };
}

/**
 * The part that a cluster's scheduler has given to this process: a Slurm array task (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP) or a pod of
 * a Kubernetes Indexed Job (JOB_COMPLETION_INDEX; Kubernetes does not tell how many there are, so that comes from JOB_COMPLETIONS).
 * Undefined outside both.
 * @throws UsageError for variables that make no sense
 */
export function shardOfEnvironment(env: Readonly<Record<string, string | undefined>>): Shard | undefined {
  const whole = (name: string, otherwise?: number): number => {
    const text = env[name];
    if (text === undefined && otherwise !== undefined) return otherwise;
    if (text === undefined || !/^\d+$/.test(text)) {
      throw new UsageError(
        `${name} is ${text === undefined ? "not set" : JSON.stringify(text)}; a whole number is expected (or say --shard I/N)`,
      );
    }
    return Number(text);
  };
  let shard: Shard | undefined;
  if (env["SLURM_ARRAY_TASK_ID"] !== undefined) {
    const count = whole("SLURM_ARRAY_TASK_COUNT");
    shard = { index: (whole("SLURM_ARRAY_TASK_ID") - whole("SLURM_ARRAY_TASK_MIN", 0)) / whole("SLURM_ARRAY_TASK_STEP", 1) + 1, count };
  } else if (env["JOB_COMPLETION_INDEX"] !== undefined) {
    shard = { index: whole("JOB_COMPLETION_INDEX") + 1, count: whole("JOB_COMPLETIONS") };
  }
  if (shard && !(Number.isInteger(shard.index) && shard.index >= 1 && shard.index <= shard.count)) {
    throw new UsageError(`the scheduler's variables say part ${shard.index} of ${shard.count}, which cannot be; say --shard I/N`);
  }
  return shard;
}

/** Whether an attempt is the shard's. */
export function inShard(index: number, shard: Shard | undefined): boolean {
  return shard === undefined || index % shard.count === shard.index - 1;
}

/** The folder below --out that a shard has for itself. */
export function shardFolder({ index, count }: Shard): string {
  return `shard-${index}-of-${count}`;
}

/** A folder and those in it, which shards may lie in. @throws FormatError for a folder that is not there or cannot be listed */
export async function partFolders(name: string): Promise<string[]> {
  const below = await readdir(name, { withFileTypes: true }).catch(async (error: unknown) => {
    const why = (await exists(name)) ? `cannot be listed: ${errorMessage(error)}` : "there is no such folder; give the folders of shards";
    throw new FormatError(name, why, { cause: error });
  });
  return [name, ...below.filter((e) => e.isDirectory()).map((e) => join(name, e.name)).toSorted()];
}
