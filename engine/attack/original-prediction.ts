import { f32 } from "../../kernels/kernel.ts";
import { linearCombination } from "../../kernels/linear-combination.ts";
import { type NDArray, expectShape, toChannelsLast } from "../models/array.ts";
import type { StableDiffusion } from "../models/stable-diffusion.ts";
import type { Program } from "../runtime/program.ts";
import { Tensor } from "../runtime/tensor.ts";

export interface OriginalPredictionStart {
  /** The framed prompt that names the concept. */
  readonly ids: ArrayLike<number>;
  /** Clean latents of the target picture, [1, C, h, w], scaled as the UNet sees them. */
  readonly latents: NDArray;
  /** Where predictions go: f32 [1, h, w, C], channels-last, on the same device. */
  readonly destination: Tensor;
}

/**
 * What the original model predicts for the noised target under the plain prompt: P4D's goal for the unlearned model
 * (arXiv 2309.06135, equation 4; Diffusion-MU-Attack, tasks/P4D_.py). Predictions stay on the device.
 */
export class OriginalPrediction {
  private constructor(
    private readonly original: StableDiffusion,
    private readonly program: Program,
    private readonly latents: NDArray,
    private readonly context: Float32Array<ArrayBuffer>,
    private readonly own: Tensor,
    private readonly destination: Tensor,
  ) {}

  /** @throws ShapeError for latents that do not fit; RangeError for ids outside the vocabulary */
  static async of(original: StableDiffusion, { ids, latents, destination }: OriginalPredictionStart): Promise<OriginalPrediction> {
    const { inChannels, outChannels } = original.parts.unet.config;
    expectShape("original model's latents", latents, [1, inChannels, undefined, undefined]);
    const [, , height, width] = latents.shape as [number, number, number, number];
    const context = await original.encodeText(ids);
    const key = `original prediction ${height}x${width} ${context.shape[1]}`;
    const own = original.keep(key, () => new Tensor(original.device, "attack.originalPrediction", f32([1, height, width, outChannels])));
    const program = await original.program(key, (g) => {
      const clean = g.input("clean", f32([1, height, width, inChannels]));
      const noised = linearCombination(g, g.input("noising", f32([2])), [clean, g.input("noise", clean.type)]);
      const prediction = original.recordUNet(g, noised, g.input("features", f32([1, original.featureWidth])), g.input("context", f32(context.shape)));
      return { outputs: { prediction }, assigns: [[own, prediction]] };
    });
    return new OriginalPrediction(original, program, latents, context.data, own, destination);
  }

  /** Queues the prediction at a timestep and its copy to the destination. @param noise unit-normal, NCHW, of the latents' shape */
  step(timestep: number, noise: Float32Array): void {
    const { original, latents, own, destination } = this;
    const cumulative = original.alphasCumprod[timestep]!;
    this.program.run({
      clean: toChannelsLast(latents),
      noise: toChannelsLast({ data: noise as Float32Array<ArrayBuffer>, shape: latents.shape }),
      noising: Float32Array.of(Math.sqrt(cumulative), Math.sqrt(1 - cumulative)),
      features: original.timestepFeatures([timestep]),
      context: this.context,
    });
    own.copyTo(destination);
  }
}
