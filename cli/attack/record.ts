import { release } from "node:os";
import { type FileRecord, type RunRecord, attackCommandLine, newRecord } from "../../engine/run/record.ts";
import type { AttackSettings } from "../../engine/run/settings/settings.ts";
import { shellCommand } from "../../engine/run/text/shell.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { type Shown, shownFlags } from "../shown.ts";
import { type GlobalOptions, globalFlags } from "../context.ts";

/** The record of a run of the command line that begins now. */
export function commandRecord(
  settings: AttackSettings,
  out: string,
  device: Device,
  global: GlobalOptions,
  files: readonly FileRecord[],
  targetFitted: string,
  shown: Shown,
): RunRecord {
  const { limits = "adapter", weights = "f32", math = "f32" } = global;
  const flags = [...globalFlags(global), ...shownFlags(shown), "--out", out];
  const command = attackCommandLine(settings, flags);
  const resumeCommand = shellCommand(["npx", "lethe", "attack", "--resume", ...flags]);
  return newRecord(
    settings,
    {
      device,
      limits,
      weights,
      math,
      command,
      resumeCommand,
      node: process.versions.node,
      platform: `${process.platform} ${process.arch} ${release()}`,
    },
    files,
    targetFitted,
  );
}
