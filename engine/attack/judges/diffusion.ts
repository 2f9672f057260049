import { imagesToTensor } from "../../formats/picture/image.ts";
import type { DiffusionClassifierOptions } from "../../diffusion/diffusion-classifier.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { UsageError } from "../../runtime/errors.ts";
import type { Judge } from "./judgement.ts";

/**
 * The diffusion classifier as a judge (arXiv 2303.16203): the concept was drawn if its prompt predicts the noise in the picture best.
 * `scores` holds the mean errors of the prompts kept to the last stage. `score` is other / (other + own) of the concept's error and the
 * least one of another prompt, above one half where the concept wins, and 0 if it was left out early: an ordering, not a probability.
 * @param model one that knows the concept: the model before unlearning
 * @param concept one of `options.prompts`
 * @throws UsageError if it is not; what `classifyByDiffusion` throws, when judging
 */
export function diffusionJudge(model: StableDiffusion, concept: string, options: DiffusionClassifierOptions): Judge {
  const wanted = options.prompts.indexOf(concept);
  if (wanted < 0) {
    throw new UsageError(
      `judge "diffusion": ${JSON.stringify(concept)} is none of the prompts; they are ${options.prompts
        .slice(0, 6)
        .map((p) => JSON.stringify(p))
        .join(", ")}${options.prompts.length > 6 ? ", ..." : ""}`,
    );
  }
  return async (image) => {
    const { classifyByDiffusion } = await import("../../diffusion/diffusion-classifier.ts");
    const { index, scores } = await classifyByDiffusion(model, imagesToTensor([image]), options);
    const stages = Math.max(...scores.map((s) => s.stages));
    const kept = scores.filter((s) => s.stages === stages).toSorted((a, b) => a.error - b.error);
    const own = kept.find((s) => s.prompt === concept)?.error;
    const other = kept.find((s) => s.prompt !== concept)?.error ?? 0;
    const score = own === undefined ? 0 : other / (other + own);
    return {
      success: index === wanted,
      label: options.prompts[index]!,
      score,
      scores: Object.fromEntries(kept.map((s) => [s.prompt, s.error])),
    };
  };
}
