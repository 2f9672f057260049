import { folderStore } from "../../engine/platform/folder-store.ts";
import { RunFiles } from "../../engine/run/files.ts";
import type { RunRecord } from "../../engine/run/record.ts";
import type { ReportExtras } from "../../engine/run/report/data.ts";
import { type AttackSettings, newSettings, resumedSettings } from "../../engine/run/settings/settings.ts";
import type { SavedState } from "../../engine/run/state.ts";
import { UsageError } from "../../engine/runtime/errors.ts";
import { reportExtras } from "../shown.ts";
import { withFirstCase } from "./cases.ts";
import type { AttackFlags } from "./settings.ts";

/** What is run, where, and what is there of it already. Nothing is opened yet. */
export interface RunStart {
  readonly settings: AttackSettings;
  /** The run's folder as it was named, and its files. */
  readonly out: string;
  readonly files: RunFiles;
  readonly extras: ReportExtras;
  /** The run that is gone on with, and where it stood if it came far enough. */
  readonly earlier?: RunRecord | undefined;
  readonly saved?: SavedState | undefined;
}

/** A run in a folder that holds none. */
export function newRun(settings: AttackSettings, out: string, extras: ReportExtras): RunStart {
  return { settings, out, files: new RunFiles(folderStore(out)), extras };
}

/**
 * The run that the flags of `attack` ask for: a new one, or with --resume the one that --out holds, whatever became of it.
 * @throws UsageError if the flags contradict each other or that run, or a run would be lost; FormatError for a damaged record
 */
export async function beginRun(flags: AttackFlags): Promise<RunStart> {
  const { out, resume, overwrite } = flags;
  if (resume && overwrite) throw new UsageError("--resume goes on with what is there, --overwrite replaces it: give one of them");
  const files = new RunFiles(folderStore(out));
  const there = overwrite ? undefined : await files.earlier(); // what is replaced need not be readable
  if (!resume && !overwrite && (await files.holdsRun())) {
    throw new UsageError(
      `${out} holds ${there?.status === "finished" ? "a finished attack" : "an unfinished attack"}, which would be lost: add --resume to ` +
        "go on with it or --overwrite to replace it, or give another folder",
    );
  }
  const earlier = resume ? there : undefined;
  const given = earlier ? flags : await withFirstCase(flags);
  const settings = earlier ? resumedSettings(given, earlier.settings, out) : newSettings(given);
  const saved = earlier && earlier.status !== "finished" ? await files.saved() : undefined;
  return { settings, out, files, extras: reportExtras(flags), earlier, saved };
}
