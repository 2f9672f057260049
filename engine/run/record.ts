import type { AttackResult } from "../attack/events.ts";
import type { AttackSettings } from "./settings.ts";

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
  /** What was warned of before the run began; absent if nothing was. */
  readonly warnings?: readonly string[];
  /** ISO 8601. */
  readonly started: string;
  readonly ended: string | null;
  /** Spent over all runs, resumed ones included. */
  readonly seconds: number;
  readonly peakBytes: number;
  readonly result: AttackResult | null;
}
