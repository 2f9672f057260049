import { type RunWork, estimateRun } from "../../engine/diffusion/estimate-run.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { errorMessage } from "../../engine/runtime/errors.ts";
import type { NeedReport } from "../protocol.ts";

/** Adversarial tokens that the estimate of an attack allows for. */
const TOKENS = 8;

/**
 * What a model will take on its device, known before a weight is read: every program is recorded and planned, none is made.
 * A tensor that the device cannot bind becomes the report's refusal.
 */
export function needOf(model: StableDiffusion): NeedReport {
  const { factor } = model.parts.vae.config;
  const [height, width] = model.defaultLatentSize.map((n) => n * factor) as [number, number];
  const work: RunWork = { width, height, rows: 2, pictures: 1, attackRows: 0 };
  const imageSize = [width, height] as const;
  try {
    const draw = estimateRun(model, work);
    const attack = estimateRun(model, { ...work, attackRows: 1 });
    // Simplex rows, both moments, the gradient and what comes between, f32 [tokens, vocabulary] each.
    const search = 8 * TOKENS * model.text.vocabularySize * 4;
    return {
      weightBytes: draw.weightBytes,
      drawBytes: draw.weightBytes + draw.workingBytes,
      attackBytes: attack.weightBytes + attack.workingBytes + search,
      refusal: "",
      imageSize,
    };
  } catch (error) {
    return { weightBytes: 0, drawBytes: 0, attackBytes: 0, refusal: errorMessage(error), imageSize };
  }
}
