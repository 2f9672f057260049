import { type GenerateOptions, type GeneratedImage, generate } from "./generate.ts";
import { StableDiffusion } from "./stable-diffusion.ts";

/** A loaded model with the sampling loop on top: what a loader gives. The field calls it a pipeline. */
export class StableDiffusionPipeline extends StableDiffusion {
  /** Text to image; see `generate`. @throws RangeError or SchedulerConfigError naming a bad option */
  generate(options: GenerateOptions): Promise<GeneratedImage[]> {
    return generate(this, options);
  }
}
