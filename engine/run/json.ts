import type { AttackResult } from "../attack/events.ts";
import type { RunRecord } from "./record.ts";

/** What `attack --json` prints: the result but for its seed, and where it was found. */
export interface AttackJson extends Omit<AttackResult, "seed"> {
  readonly adapter: string;
  readonly peakBytes: number;
  readonly out: string;
}

/** The JSON of a finished run. What only some runs have comes last. */
export function attackJson({ result, device, peakBytes }: RunRecord, out: string): AttackJson {
  const { seed: _, notPortable, universal, tried, probe, ...every } = result!;
  return {
    ...every,
    adapter: device.adapter,
    peakBytes,
    out,
    ...(notPortable !== undefined && { notPortable }),
    ...(universal && { universal }),
    ...(tried && { tried }),
    ...(probe && { probe }),
  };
}
