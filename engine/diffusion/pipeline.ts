import type { NDArray } from "../nn/array.ts";
import { type GenerateOptions, type GeneratedImage, generate } from "./generate.ts";
import { StableDiffusion } from "./stable-diffusion.ts";

/** What `noiseLoss` takes: see `StableDiffusion.noiseLoss`. */
type EmbeddingLossOptions = Parameters<StableDiffusion["noiseLoss"]>[0];

export interface NoiseLossOptions extends Omit<EmbeddingLossOptions, "latents"> {
  /** Clean latents [1, C, h, w]; with `wrt: "picture"` left out. */
  readonly latents?: NDArray;
  /** With `wrt: "picture"`: [1, 3, H, W] in [-1, 1]. */
  readonly picture?: NDArray;
  /** What the loss is differentiated for: the token embeddings, the clean latents, or the picture they are encoded from. */
  readonly wrt?: "embeddings" | "latents" | "picture";
}

/** A loaded model with the sampling loop on top: what a loader gives. The field calls it a pipeline. */
export class StableDiffusionPipeline extends StableDiffusion {
  /** Text to image; see `generate`. @throws RangeError or SchedulerConfigError naming a bad option */
  generate(options: GenerateOptions): Promise<GeneratedImage[]> {
    return generate(this, options);
  }

  /**
   * The loss between the prediction for noised latents and the noise, and its gradient for what `wrt` names: see `latentLoss` and
   * `StableDiffusion.noiseLoss`. @throws as those; RangeError where what `wrt` needs is missing
   */
  override async noiseLoss(options: NoiseLossOptions): Promise<{ loss: number; prediction: NDArray; gradient: NDArray }> {
    const { wrt = "embeddings", latents, picture, ids, embeddings, noise, timestep, loss } = options;
    if (wrt === "embeddings") {
      if (!latents) throw new RangeError("noiseLoss: give latents");
      return super.noiseLoss({ ...options, latents });
    }
    if (!ids || embeddings) throw new RangeError(`noiseLoss wrt "${wrt}": give the prompt as ids`);
    const [source, unused] = wrt === "latents" ? [{ latents }, picture] : [{ picture }, latents];
    if (unused) throw new RangeError(`noiseLoss wrt "${wrt}" takes either latents or a picture`);
    const { latentLoss } = await import("./steering/latent-loss.ts");
    return latentLoss(this, { ...source, noise, timestep, loss, context: await this.encodeText(ids) });
  }
}
