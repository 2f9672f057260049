import { release } from "node:os";
import type { RunPlace } from "../engine/run/record.ts";
import type { Device } from "../engine/runtime/device.ts";
import { type GlobalOptions, globalFlags } from "./context.ts";
import { type Shown, shownFlags } from "./shown.ts";

/** Where a run of the command line computes. @param out where it writes to */
export function placeOf(options: GlobalOptions, device: Device, shown: Shown, out: string): RunPlace {
  const { limits = "adapter", weights = "f32", math = "f32" } = options;
  return {
    device, limits, weights, math,
    node: process.versions.node,
    platform: `${process.platform} ${process.arch} ${release()}`,
    flags: [...globalFlags(options), ...shownFlags(shown), "--out", out],
  };
}
