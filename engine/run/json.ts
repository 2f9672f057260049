import type { AttackResult } from "../attack/events.ts";
import type { RunRecord } from "./record.ts";

/** What `attack --json` prints. */
export interface AttackJson {
  readonly success: boolean;
  readonly prompt: string;
  readonly adversarialPrompt: string;
  readonly adversarialIds: readonly number[];
  readonly iterations: number;
  readonly timestep: number | null;
  readonly preSuccess: boolean;
  readonly score: number;
  readonly label: string;
  readonly seconds: number;
  readonly adapter: string;
  readonly peakBytes: number;
  readonly out: string;
  /** Why the prompt cannot be handed on as text; absent if it can. */
  readonly notPortable?: string;
  /** With --universal, and with --gate or --screening-steps: see AttackResult. */
  readonly universal?: AttackResult["universal"];
  readonly tried?: AttackResult["tried"];
  /** Of a probe: see AttackResult. */
  readonly probe?: AttackResult["probe"];
}

/** The JSON of a finished run. */
export function attackJson({ result, device, peakBytes }: RunRecord, out: string): AttackJson {
  const {
    success,
    prompt,
    adversarialPrompt,
    adversarialIds,
    iterations,
    timestep,
    preSuccess,
    score,
    label,
    seconds,
    notPortable,
    universal,
    tried,
    probe,
  } = result!;
  return {
    success,
    prompt,
    adversarialPrompt,
    adversarialIds,
    iterations,
    timestep,
    preSuccess,
    score,
    label,
    seconds,
    adapter: device.adapter,
    peakBytes,
    out,
    ...(notPortable !== undefined && { notPortable }),
    ...(universal && { universal }),
    ...(tried && { tried }),
    ...(probe && { probe }),
  };
}
