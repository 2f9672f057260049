import { UsageError } from "../../runtime/errors.ts";
import type { RecordedModel } from "./recorded-model.ts";
import { type SizeConditions, ownSize } from "./sizes.ts";

/** What can be said of a picture of SDXL besides. Source: diffusers 0.21, arguments of StableDiffusionXLPipeline. */
export interface XlOptions {
  /** For the second encoder, of which the pooled text comes. Default: the prompt. */
  readonly prompt2?: string | undefined;
  /** Default: the negative prompt. */
  readonly negativePrompt2?: string | undefined;
  /** Default: the picture's own size, not cropped. */
  readonly sizes?: Partial<SizeConditions> | undefined;
  /** What the unconditional half is told instead; `original` and `target` belong together. Default: the same as the other half. */
  readonly negativeSizes?: Partial<SizeConditions> | undefined;
}

/** The same with the defaults filled in; part of the settings of a picture of SDXL only. */
export interface XlSettings {
  readonly prompt2: string;
  /** null: steered away from nothing, which for SDXL is an encoding of zeros. */
  readonly negativePrompt2: string | null;
  readonly sizes: SizeConditions;
  readonly negativeSizes: SizeConditions | null;
}

/** @throws UsageError naming an option that is only of SDXL, or numbers that are not sizes; {} for another model */
export function xlSettings(
  model: RecordedModel,
  options: XlOptions & { readonly prompt: string; readonly negativePrompt?: string | undefined },
  [height, width]: readonly [number, number],
): XlSettings | Record<string, never> {
  const { prompt, negativePrompt, prompt2, negativePrompt2, sizes, negativeSizes } = options;
  if (!model.isXl) {
    for (const [name, value] of Object.entries({ prompt2, negativePrompt2, sizes, negativeSizes })) {
      if (value !== undefined) throw new UsageError(`${name} is of Stable Diffusion XL only, and this model is none`);
    }
    return {};
  }
  if (negativePrompt2 !== undefined && negativePrompt === undefined) {
    throw new UsageError("negativePrompt2 needs a negativePrompt: without one nothing is steered away from");
  }
  if (negativeSizes && (!negativeSizes.original || !negativeSizes.target)) {
    throw new UsageError("negativeSizes need an original and a target size");
  }
  const own = ownSize(height, width);
  return {
    prompt2: prompt2 ?? prompt,
    negativePrompt2: negativePrompt2 ?? negativePrompt ?? null,
    sizes: checked("sizes", { ...own, ...sizes }),
    negativeSizes: negativeSizes ? checked("negativeSizes", { ...own, ...negativeSizes }) : null,
  };
}

/** @throws UsageError unless sizes are whole numbers above 0, and the crop's corner at least 0 */
function checked(name: string, { original, crop, target }: SizeConditions): SizeConditions {
  for (const [part, pair, least] of [["original", original, 1], ["crop", crop, 0], ["target", target, 1]] as const) {
    if (!pair.every((x) => Number.isSafeInteger(x) && x >= least && x <= 100_000)) {
      throw new UsageError(`${name}.${part} must be two whole numbers from ${least} to 100000, got ${pair.join(", ")}`);
    }
  }
  return { original, crop, target };
}
