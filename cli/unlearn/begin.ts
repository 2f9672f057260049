import { basename } from "node:path";
import { folderStore } from "../../engine/platform/folder-store.ts";
import { type SavedRun, UnlearnFiles } from "../../engine/run/unlearn/files.ts";
import type { UnlearnRecord } from "../../engine/run/unlearn/record.ts";
import { type GivenUnlearn, type UnlearnSettings, newUnlearnSettings, resumedUnlearn } from "../../engine/run/unlearn/settings.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { exists } from "../output.ts";

/** What the command line gave; nothing is filled in yet. */
export interface UnlearnFlags extends Omit<GivenUnlearn, "concepts"> {
  readonly concept?: readonly string[];
  readonly out: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly showImages?: boolean;
}

/** What is erased, where the result goes, and what is there of it already. Nothing is opened yet. */
export interface UnlearnStart {
  readonly settings: UnlearnSettings;
  /** The result as it was named, and the files of the run beside it. */
  readonly out: string;
  readonly files: UnlearnFiles;
  readonly showImages: boolean;
  /** The run that is gone on with, and where it stood if it came far enough. */
  readonly earlier?: UnlearnRecord | undefined;
  readonly saved?: SavedRun | undefined;
  /** Whether what is there may be replaced, and what of it an earlier run wrote, each file by its path beside it. */
  readonly overwrite: boolean;
  readonly written: readonly string[];
}

/** The files of the run that makes a result. */
export function unlearnFiles(out: string): UnlearnFiles {
  return new UnlearnFiles(folderStore(`${out}.run`));
}

/** Whether a run's result is there, whole. */
export async function isDone(record: UnlearnRecord | undefined, out: string): Promise<boolean> {
  return record?.status === "finished" && (await exists(out));
}

/** A run of these settings, or what is left of an earlier one of them. @throws FormatError for a damaged state */
export async function startOf(settings: UnlearnSettings, out: string, showImages = false, earlier?: UnlearnRecord): Promise<UnlearnStart> {
  const files = unlearnFiles(out);
  const saved = earlier && (await files.saved());
  return { settings, out, files, showImages, earlier, saved, overwrite: false, written: [] };
}

/**
 * The run that the flags of `unlearn` ask for: a new one, or with --resume the one that is there, whatever became of it.
 * @throws UsageError if the flags contradict each other or that run, or something would be lost; FormatError for a damaged record
 */
export async function beginUnlearn(flags: UnlearnFlags): Promise<UnlearnStart> {
  const { out, resume = false, overwrite = false, showImages, concept: concepts } = flags;
  if (resume && overwrite) throw new UsageError("--resume goes on with what is there, --overwrite replaces it: give one of them");
  const read = unlearnFiles(out).earlier();
  const there = await (overwrite ? read.catch(() => undefined) : read); // what is replaced need not be readable
  if (!overwrite && !(resume && there) && (there || (await exists(out)))) {
    const what = !there ? "is there already" : there.status === "finished" ? "is there already, with its run" : "has an unfinished run";
    throw new UsageError(
      `${out} ${what}, which would be lost: add ${there ? "--resume to go on with it or " : ""}--overwrite to replace it, ` +
        "or give another name",
    );
  }
  const given: GivenUnlearn = { ...flags, concepts };
  if (resume && there) return startOf(resumedUnlearn(given, there.settings, out), out, showImages, there);
  return { ...(await startOf(newUnlearnSettings(given), out, showImages)), overwrite, written: writtenBy(there, basename(out)) };
}

/** The files that an earlier run wrote as its result. What its record says of other places is not believed. */
function writtenBy(record: UnlearnRecord | undefined, name: string): string[] {
  const paths = (record?.result?.files ?? []).map((file) => file.name);
  return paths.filter((path) => path === name || (path.startsWith(`${name}/`) && !path.split(/[\\/]/).includes("..")));
}
