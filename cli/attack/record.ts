import { release } from "node:os";
import { type FileRecord, type RunPlace, type RunRecord, changesSince, newRecord } from "../../engine/run/record.ts";
import { attackCommandLine } from "../../engine/run/settings/command-line.ts";
import { shellCommand } from "../../engine/run/text/shell.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { shownFlags } from "../shown.ts";
import { type Context, globalFlags } from "../context.ts";
import type { RunStart } from "./begin.ts";

/** What became of a run's settings when its parts were opened. */
interface Opened {
  readonly device: Device;
  readonly rule: string;
  readonly files: readonly FileRecord[];
  /** How the target was made to fit. */
  readonly fitted: string;
}

/** The record of a run of the command line that begins now; says what has changed since a run that is gone on with. */
export function commandRecord(
  context: Context,
  { settings, out, extras, earlier }: RunStart,
  { device, rule, files, fitted }: Opened,
): RunRecord {
  const { limits = "adapter", weights = "f32", math = "f32" } = context.options;
  const flags = [...globalFlags(context.options), ...shownFlags(extras), "--out", out];
  const place: RunPlace = {
    device,
    limits,
    weights,
    math,
    command: attackCommandLine(settings, flags),
    resumeCommand: shellCommand(["npx", "lethe", "attack", "--resume", ...flags]),
    node: process.versions.node,
    platform: `${process.platform} ${process.arch} ${release()}`,
  };
  const record = newRecord({ settings, rule, targetFitted: fitted }, place, files);
  if (earlier) for (const change of changesSince(earlier, record)) context.warn(change);
  return record;
}
