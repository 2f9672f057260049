import type { AttackResult } from "../attack/events.ts";
import { FormatError } from "../formats/errors.ts";
import { describeChoice } from "../runtime/choice/kernel-table.ts";
import type { Device } from "../runtime/device.ts";
import { asFlags } from "../options/flags.ts";
import { defaultsOf } from "../options/values.ts";
import { RUN_OPTIONS } from "./settings/option-table.ts";
import { type AttackSettings, isSettings } from "./settings/settings.ts";
import { shellCommand } from "./text/shell.ts";
import { PROBE_OPTIONS } from "../attack/probes/option-table.ts";
import { VERSION } from "./version.ts";

/** A file that a run depended on. */
export interface FileRecord {
  /** What it is to the run: unet, "unet overlay", classifier, target. */
  readonly role: string;
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Where a run is: interrupted ones and those still "running" after a crash can be gone on with. */
export type RunStatus = "running" | "interrupted" | "failed" | "finished";

/** What the record of every kind of run holds. */
export interface AnyRunRecord {
  readonly status: RunStatus;
  /** Why it failed; null otherwise. */
  readonly error: string | null;
  /** The command that makes this run, and the one that goes on with it; the latter is empty for a run in a browser. */
  readonly command: string;
  readonly resumeCommand: string;
  readonly device: {
    readonly adapter: string;
    readonly driver: string;
    readonly limits: "default" | "adapter";
    readonly weights: string;
    readonly math: string;
    /** Variants of matrix products that were used, in words; absent in older records. */
    readonly kernels?: string;
    readonly bufferSharing: boolean;
    /** Accesses of shaders were clamped to their buffers; absent in older records, which are clamped. */
    readonly robust?: boolean;
  };
  /** `node` is absent in a browser, whose name is the platform's. */
  readonly versions: { readonly lethe: string; readonly node?: string; readonly platform: string };
  readonly files: readonly FileRecord[];
  /** What was warned of before the run began; absent if nothing was. */
  readonly warnings?: readonly string[];
  /** ISO 8601. */
  readonly started: string;
  readonly ended: string | null;
  /** Spent over all runs, resumed ones included. */
  readonly seconds: number;
  readonly peakBytes: number;
}

/** What run.json of an attack holds: all that is needed to understand and repeat it. */
export interface RunRecord extends AnyRunRecord {
  readonly form: "lethe attack run 1";
  readonly settings: AttackSettings;
  /** What the judge calls a success, with the thresholds in force. */
  readonly rule: string;
  /** How the target was made to fit; empty if it did. */
  readonly targetFitted: string;
  readonly result: AttackResult | null;
}

/** Where and how a run computes. */
export interface RunPlace {
  readonly device: Device;
  readonly limits: "default" | "adapter";
  readonly weights: string;
  readonly math: string;
  /** Absent in a browser, which has its name as the platform. */
  readonly node?: string | undefined;
  readonly platform: string;
  /** Of a command that computes there, and writes to the same place. */
  readonly flags: readonly string[];
}

/** The flags that make these settings, leaving out those at their defaults. */
export function settingsAsFlags(settings: AttackSettings): string[] {
  return asFlags(RUN_OPTIONS, settings, settings.attacker);
}

/** The record of an attack that begins now. */
export function newRecord(
  { settings, rule, targetFitted }: Pick<RunRecord, "settings" | "rule" | "targetFitted">,
  place: RunPlace,
  files: readonly FileRecord[],
): RunRecord {
  const begun = beginning("attack", settingsAsFlags(settings), place, files);
  return { form: "lethe attack run 1", settings, rule, targetFitted, ...begun, result: null };
}

/** What the record of any run that begins now says. @param flags of its command that say what it does */
export function beginning(command: string, flags: readonly string[], place: RunPlace, files: readonly FileRecord[]): AnyRunRecord {
  const { device, limits, weights, math, node, platform } = place;
  const { description, info, kernels, bufferSharing } = device;
  return {
    status: "running",
    error: null,
    command: shellCommand(["npx", "lethe", command, ...flags, ...place.flags]),
    resumeCommand: node === undefined ? "" : shellCommand(["npx", "lethe", command, "--resume", ...place.flags]),
    device: {
      adapter: description,
      driver: info.description,
      limits,
      weights,
      math,
      kernels: describeChoice(kernels),
      bufferSharing,
      robust: info.robust,
    },
    versions: { lethe: VERSION, ...(node !== undefined && { node }), platform },
    files,
    started: new Date().toISOString(),
    ended: null,
    seconds: 0,
    peakBytes: 0,
  };
}

/** Options that the runs of older versions do not name, and what those versions did. */
const SINCE: Partial<AttackSettings> = {
  vocabulary: "all",
  safree: null,
  endpoint: null,
  textIterations: 500,
  topTokens: 256,
  trials: 512,
  synonyms: 10,
  ...defaultsOf(PROBE_OPTIONS),
  ...Object.fromEntries(
    ["mask", "conceptPictures", "otherPictures", "controlModel", "controlUnet", "controlPicture"].map((name) => [name, null]),
  ),
};

/** The content of a run.json. @param file its name, for errors @throws FormatError if it is something else */
export function parseRecord(file: string, value: unknown): RunRecord {
  const record = value as Partial<RunRecord> | null;
  const settings = { ...SINCE, ...record?.settings };
  if (record?.form !== "lethe attack run 1" || !isSettings(settings) || !Array.isArray(record.files)) {
    throw new FormatError(file, "is not a record of an attack that this version can go on with");
  }
  return { ...record, settings } as RunRecord;
}
