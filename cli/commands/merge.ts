import type { Command } from "commander";
import { type Context, action } from "../context.ts";
import { FAIL_IF, type GateFlags, JUNIT, conclude } from "../evaluate/results/gates.ts";
import { withLock } from "../evaluate/lock.ts";
import { mergeFolders } from "../evaluate/merge.ts";
import { mergeQualities } from "../evaluate/quality/run.ts";
import { EXIT } from "../errors.ts";
import { mergeQuality, qualityParts } from "../quality/merge.ts";
import { writeTables } from "../evaluate/results/write-tables.ts";
import { type Shown, addShown } from "../shown.ts";
import { requireWritableFile, requireWritableFolder } from "../output.ts";

interface MergeFlags extends Shown, GateFlags {
  readonly out: string;
}

export function mergeCommand(program: Command): void {
  const command = program
    .command("merge")
    .description("put the shards of an evaluation together into one leaderboard, or those of a quality run into one set of scores")
    .argument("<dirs...>", "shards' folders, or folders that hold them")
    .requiredOption("--out <dir>", "folder for the whole; it gets copies")
    .option(...FAIL_IF)
    .option(...JUNIT);
  addShown(command).action((...all: unknown[]) => action<MergeFlags>((flags, context) => run(all[0] as string[], flags, context))(...all));
}

async function run(dirs: readonly string[], flags: MergeFlags, context: Context): Promise<number> {
  if (flags.junit !== undefined) await requireWritableFile(flags.junit);
  const parts = await qualityParts(dirs); // before anything is made: a name may be wrong
  await requireWritableFolder(flags.out);
  return withLock(flags.out, (line) => context.say(line), async () => {
    if (parts.length === 0) return merge(dirs, flags, context);
    await mergeQuality(parts, flags.out, context);
    return EXIT.done;
  });
}

async function merge(dirs: readonly string[], flags: MergeFlags, context: Context): Promise<number> {
  const { out } = flags;
  const { folder, manifest, lines, missing, parts } = await mergeFolders(dirs, out);
  await mergeQualities(parts, manifest, out, context);
  const board = await writeTables(folder, manifest, lines, flags, (line) => context.warn(line));
  if (missing.length > 0) {
    context.warn(
      `${missing.length} of ${missing.length + lines.length} attempts are missing from the folders, the first ${missing[0]}: the rates ` +
        "count the others only",
    );
  }
  return conclude(context, manifest.name, board, flags, { out, attempts: lines.length, missing: missing.length });
}
