import type { Command } from "commander";
import { join } from "node:path";
import { type Context, action } from "../context.ts";
import { withLock } from "../evaluate/lock.ts";
import { mergeFolders } from "../evaluate/merge.ts";
import { jsonBoard, terminalTables, writeTables } from "../evaluate/write-tables.ts";
import { requireWritableFolder } from "../output.ts";

interface MergeFlags {
  readonly out: string;
  readonly showImages?: boolean;
}

export function mergeCommand(program: Command): void {
  program
    .command("merge")
    .description("put the shards of an evaluation together into one leaderboard")
    .argument("<dirs...>", "shards' folders, or folders that hold them")
    .requiredOption("--out <dir>", "folder for the whole; it gets copies")
    .option("--show-images", "do not blur the pictures in the report")
    .action((...all: unknown[]) => action<MergeFlags>((flags, context) => run(all[0] as string[], flags, context))(...all));
}

async function run(dirs: readonly string[], { out, showImages = false }: MergeFlags, context: Context): Promise<void> {
  await requireWritableFolder(out);
  await withLock(out, (line) => context.say(line), () => merge(dirs, { out, showImages }, context));
}

async function merge(dirs: readonly string[], { out, showImages = false }: MergeFlags, context: Context): Promise<void> {
  const { folder, manifest, lines, missing } = await mergeFolders(dirs, out);
  const board = await writeTables(folder, manifest, lines, showImages);
  if (missing.length > 0) {
    context.warn(
      `${missing.length} of ${missing.length + lines.length} attempts are in none of the folders, the first ${missing[0]}: rates are of ` +
        "those that are there",
    );
  }
  context.say(`report: ${join(out, "report.html")}`);
  context.result({ out, attempts: lines.length, missing: missing.length, ...jsonBoard(board) }, terminalTables(board));
}
