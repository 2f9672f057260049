import { release } from "node:os";
import type { AttackResult } from "../../engine/attack/events.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { readJson } from "../../engine/platform/node-files.ts";
import { describeChoice } from "../../engine/runtime/choice/kernel-choice.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { type GlobalOptions, globalFlags } from "../context.ts";
import { VERSION } from "../../engine/run/version.ts";
import type { FileRecord } from "./files.ts";
import { ruleOf } from "./judge.ts";
import { type AttackSettings, isSettings, settingsAsFlags } from "./settings.ts";
import { shellCommand } from "../../engine/run/shell.ts";

/** Where a run is: interrupted ones and those still "running" after a crash can be gone on with. */
export type RunStatus = "running" | "interrupted" | "failed" | "finished";

/** What run.json holds: all that is needed to understand and repeat a run. */
export interface RunRecord {
  readonly form: "lethe attack run 1";
  readonly status: RunStatus;
  /** Why it failed; null otherwise. */
  readonly error: string | null;
  /** The command that makes this run, and the one that goes on with it; the latter is empty for a run in a browser. */
  readonly command: string;
  readonly resumeCommand: string;
  readonly settings: AttackSettings;
  /** What the judge calls a success, with the thresholds in force. */
  readonly rule: string;
  /** How the target was made to fit; empty if it did. */
  readonly targetFitted: string;
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
  /** ISO 8601. */
  readonly started: string;
  readonly ended: string | null;
  /** Spent over all runs, resumed ones included. */
  readonly seconds: number;
  readonly peakBytes: number;
  readonly result: AttackResult | null;
}

/** The record of a run that begins now. */
export function newRecord(settings: AttackSettings, out: string, device: Device, global: GlobalOptions, files: readonly FileRecord[], targetFitted: string, showImages: boolean): RunRecord {
  const flags = globalFlags(global);
  const show = showImages ? ["--show-images"] : [];
  return {
    form: "lethe attack run 1",
    status: "running",
    error: null,
    command: shellCommand(["npx", "lethe", "attack", ...settingsAsFlags(settings), ...flags, ...show, "--out", out]),
    resumeCommand: shellCommand(["npx", "lethe", "attack", "--resume", ...flags, ...show, "--out", out]),
    settings,
    rule: ruleOf(settings),
    targetFitted,
    device: { adapter: device.description, driver: device.info.description, limits: global.limits ?? "adapter", weights: global.weights ?? "f32", math: global.math ?? "f32", kernels: describeChoice(device.kernels), bufferSharing: global.bufferSharing, robust: device.info.robust },
    versions: { lethe: VERSION, node: process.versions.node, platform: `${process.platform} ${process.arch} ${release()}` },
    files,
    started: new Date().toISOString(),
    ended: null,
    seconds: 0,
    peakBytes: 0,
    result: null,
  };
}

/** Reads a run.json. @throws FormatError if it is missing or something else */
export async function readRecord(file: string): Promise<RunRecord> {
  const value = (await readJson(file)) as Partial<RunRecord> | null;
  if (value?.form !== "lethe attack run 1" || !isSettings(value.settings) || !Array.isArray(value.files)) throw new FormatError(file, "is no record of an attack that this version can go on with");
  return value as RunRecord;
}
