import type { SldStrength } from "../../engine/diffusion/guidance.ts";
import type { SchedulerName } from "../../engine/diffusion/schedulers/index.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";

/** What `generate` takes. */
export interface GenerateFlags extends ModelOptions {
  readonly prompt?: string;
  readonly promptsCsv?: string;
  readonly negativePrompt?: string;
  readonly steps: number;
  readonly scheduler?: SchedulerName;
  readonly eta?: number;
  /** Undefined if not given: 7.5. */
  readonly guidance?: number;
  /** Undefined if not given: a table has a seed in every row. */
  readonly seed?: number;
  readonly count: number;
  readonly width?: number;
  readonly height?: number;
  readonly sld?: SldStrength;
  readonly embedding?: readonly string[];
  readonly dryRun?: boolean;
  readonly out: string;
}
