import type { SldStrength } from "../../engine/diffusion/guidance.ts";
import type { XlOptions } from "../../engine/diffusion/model/xl-options.ts";
import type { SizeConditions } from "../../engine/diffusion/model/sizes.ts";
import type { SchedulerName, TimestepSpacing } from "../../engine/diffusion/schedulers/index.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";

/** What `generate` takes. */
/** Width and height, or x and y. */
type Pair = readonly [number, number];

export interface GenerateFlags extends ModelOptions, XlOptions {
  readonly prompt?: string;
  readonly promptsCsv?: string;
  readonly negativePrompt?: string;
  readonly originalSize?: Pair;
  readonly cropAt?: Pair;
  readonly targetSize?: Pair;
  readonly negativeOriginalSize?: Pair;
  readonly negativeCropAt?: Pair;
  readonly negativeTargetSize?: Pair;
  readonly spacing?: TimestepSpacing;
  readonly steps: number;
  readonly scheduler?: SchedulerName;
  readonly eta?: number;
  /** Undefined if not given: the model's. */
  readonly guidance?: number;
  /** Undefined if not given: a table has a seed in every row. */
  readonly seed?: number;
  readonly count: number;
  readonly width?: number;
  readonly height?: number;
  readonly sld?: SldStrength;
  readonly safree?: string;
  readonly embedding?: readonly string[];
  readonly dryRun?: boolean;
  readonly out: string;
}

/** The size conditions that the flags give, of the field's order: height first. */
export function sizeOptions(flags: GenerateFlags): Pick<XlOptions, "sizes" | "negativeSizes"> {
  const sizes = conditions(flags.originalSize, flags.cropAt, flags.targetSize);
  const negativeSizes = conditions(flags.negativeOriginalSize, flags.negativeCropAt, flags.negativeTargetSize);
  return { ...(sizes && { sizes }), ...(negativeSizes && { negativeSizes }) };
}

function conditions(original: Pair | undefined, crop: Pair | undefined, target: Pair | undefined): Partial<SizeConditions> | undefined {
  if (!original && !crop && !target) return undefined;
  const turned = ([a, b]: Pair): Pair => [b, a];
  return {
    ...(original && { original: turned(original) }),
    ...(crop && { crop: turned(crop) }),
    ...(target && { target: turned(target) }),
  };
}
