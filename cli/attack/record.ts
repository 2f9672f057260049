import { release } from "node:os";
import { FormatError } from "../../engine/formats/errors.ts";
import { readJson } from "../../engine/platform/node-files.ts";
import { describeChoice } from "../../engine/runtime/choice/kernel-table.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { type GlobalOptions, globalFlags } from "../context.ts";
import { VERSION } from "../../engine/run/version.ts";
import type { FileRecord, RunRecord } from "../../engine/run/record.ts";
import { ruleOf } from "../../engine/run/judge.ts";
import { type AttackSettings, isSettings, settingsAsFlags } from "../../engine/run/settings.ts";
import { shellCommand } from "../../engine/run/shell.ts";

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
