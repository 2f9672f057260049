import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { FormatError } from "../../engine/formats/errors.ts";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";
import { formatJsonLine } from "../../engine/formats/text/jsonl.ts";
import { type AttemptLine, attemptFolder, baseFolder } from "../../engine/run/leaderboard/attempt-line.ts";
import { type BaseLine, baseKey, readBases } from "./base.ts";
import { EvaluationFolder } from "./folder.ts";
import { partFolders } from "./shard.ts";
import type { Manifest } from "../../engine/run/leaderboard/manifest.ts";

export interface Merged {
  readonly folder: EvaluationFolder;
  readonly manifest: Manifest;
  readonly lines: readonly AttemptLine[];
  /** Attempts of the grid that no folder had. */
  readonly missing: readonly string[];
  /** The folders that were put together. */
  readonly parts: readonly string[];
}

/**
 * Puts the parts of one evaluation together: every finished attempt once, in the grid's order, with its folder. Merging again, or with more
 * parts, adds only what is not there.
 * @param names folders of evaluations or shards, or folders that hold such folders
 * @throws UsageError or FormatError for parts of different evaluations, or that contradict each other
 */
export async function mergeFolders(names: readonly string[], out: string): Promise<Merged> {
  const parts = await partsOf(names);
  const [first] = parts;
  const manifest: Manifest = { ...first!.manifest, shard: null };
  for (const { folder, manifest: other } of parts) {
    if (other.sha256 !== manifest.sha256) {
      throw new UsageError(`${folder.path} is of another evaluation than ${first!.folder.path}: their configurations or prompts differ`);
    }
  }
  const found = new Map<string, { readonly line: AttemptLine; readonly folder: EvaluationFolder }>();
  for (const { folder } of parts) {
    for (const line of await folder.attempts()) {
      const before = found.get(line.id);
      if (before && result(before.line) !== result(line)) {
        throw new FormatError(
          folder.attemptsFile,
          `attempt ${line.id} has another result than in ${before.folder.path}: were they made on different adapters or with different ` +
            "files? Merge one of the two",
        );
      }
      if (!before) found.set(line.id, { line, folder });
    }
  }
  const target = new EvaluationFolder(out);
  await target.claim(manifest);
  const kept = new Map((await target.attempts()).map((line) => [line.id, line]));
  const ids = manifest.cells.flatMap((cell) => cell.attempts);
  const lines: AttemptLine[] = [];
  for (const id of ids) {
    const { line, folder } = found.get(id) ?? {};
    const there = kept.get(id);
    if (there) lines.push(there);
    else if (line && folder) {
      await copyFolder(join(folder.path, attemptFolder(id)), join(out, attemptFolder(id)));
      lines.push(line);
    }
  }
  await copyBases(parts.map((p) => p.folder), target, lines);
  await target.writeAttempts(lines);
  const commands = await cellCommands(parts.map((p) => p.folder), manifest);
  await target.writeCells(manifest, lines, (cell) => commands.get(cell) ?? "");
  const have = new Set(lines.map((line) => line.id));
  return { folder: target, manifest, lines, missing: ids.filter((id) => !have.has(id)), parts: parts.map((p) => p.folder.path) };
}

/** What the model before unlearning drew for the prompts of some lines: its verdicts in the lines' order, and its folders. */
async function copyBases(parts: readonly EvaluationFolder[], target: EvaluationFolder, lines: readonly AttemptLine[]): Promise<void> {
  const found = new Map<string, { readonly line: BaseLine; readonly folder: EvaluationFolder }>();
  for (const folder of [target, ...parts]) {
    for (const line of await readBases(folder.basesFile)) {
      const key = baseKey(line.concept, line.case);
      if (!found.has(key)) found.set(key, { line, folder });
    }
  }
  const wanted = [...new Set(lines.filter((line) => line.base).map((line) => baseKey(line.concept, line.case)))];
  const kept = wanted.flatMap((key) => found.get(key) ?? []);
  for (const { line, folder } of kept) {
    const below = baseFolder(line.concept, line.case);
    if (folder !== target) await copyFolder(join(folder.path, below), join(target.path, below));
  }
  if (kept.length > 0) await target.write("base.jsonl", kept.map(({ line }) => formatJsonLine(line)).join(""));
}

interface Part {
  readonly folder: EvaluationFolder;
  readonly manifest: Manifest;
}

/** The evaluations in the folders named, or one level below them. */
async function partsOf(names: readonly string[]): Promise<Part[]> {
  const parts: Part[] = [];
  for (const name of names) {
    const before = parts.length;
    for (const path of await partFolders(name)) {
      const folder = new EvaluationFolder(path);
      const manifest = await folder.manifest();
      if (manifest) parts.push({ folder, manifest });
    }
    if (parts.length === before) {
      throw new UsageError(`${name} does not hold an evaluation: there is no evaluation.json in it or in a folder in it`);
    }
  }
  return parts;
}

/** What must agree: all but the times. */
function result(line: AttemptLine): string {
  return JSON.stringify({ ...line, ms: null });
}

/** An attempt's folder, whole. What an interrupted merge left is taken away first. */
async function copyFolder(from: string, to: string): Promise<void> {
  if (from === to) return;
  try {
    await rm(to, { recursive: true, force: true });
    await cp(from, to, { recursive: true });
  } catch (error) {
    throw new FormatError(to, `cannot be written: ${errorMessage(error)}`, { cause: error });
  }
}

async function cellCommands(folders: readonly EvaluationFolder[], manifest: Manifest): Promise<Map<string, string>> {
  const commands = new Map<string, string>();
  for (const { id } of manifest.cells) {
    for (const folder of folders) if (!commands.has(id)) {
      const record = await folder.cellRecord(id);
      if (record) commands.set(id, record.command ?? "");
    }
  }
  return commands;
}
