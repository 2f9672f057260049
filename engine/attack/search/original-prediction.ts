import { f32 } from "../../../kernels/kernel.ts";
import { type NDArray, expectShape, joined, toChannelsLast } from "../../nn/array.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { Program } from "../../runtime/program.ts";
import { Tensor } from "../../runtime/tensor.ts";
import { combineViews, perRow, viewCoefficients } from "./timestep-views.ts";

/** A prompt that names the concept, and a picture of it. */
export interface OriginalCase {
  /** Framed. */
  readonly ids: ArrayLike<number>;
  /** Clean latents of the picture, [1, C, h, w], scaled as the UNet sees them. */
  readonly latents: NDArray;
}

export interface OriginalPredictionStart {
  readonly cases: readonly OriginalCase[];
  /** Views of an iteration (see the objective). Default 1. */
  readonly views?: number;
  /** Where predictions go: f32 [views * restarts, h, w, C], channels-last, on the same device. */
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
    private readonly cases: readonly { readonly clean: Float32Array; readonly context: Float32Array }[],
    private readonly restarts: number,
    private readonly own: Tensor,
    private readonly destination: Tensor,
  ) {}

  /** @throws ShapeError for latents that do not fit; RangeError for ids outside the vocabulary */
  static async of(original: StableDiffusion, { cases, views = 1, destination }: OriginalPredictionStart): Promise<OriginalPrediction> {
    const { inChannels, outChannels } = original.parts.unet.config;
    const [batch, height, width] = destination.type.shape as [number, number, number];
    const prepared: { clean: Float32Array; context: Float32Array }[] = [];
    let contextShape: readonly number[] = [];
    for (const { ids, latents } of cases) {
      const { data, shape } = await original.encodeText(ids);
      contextShape = shape;
      prepared.push({
        clean: toChannelsLast(expectShape("original model's latents", latents, [1, inChannels, height, width])),
        context: data,
      });
    }
    const key = `original prediction ${batch} ${views} ${height}x${width} ${contextShape[1]}`;
    const own = original.keep(
      key,
      () => new Tensor(original.device, "attack.originalPrediction", f32([batch, height, width, outChannels])),
    );
    const program = await original.program(key, (g) => {
      const clean = g.input("clean", f32([batch, height, width, inChannels]));
      const noised = combineViews(g, "noising", views, clean, g.input("noise", clean.type));
      const prediction = original.recordUNet(
        g,
        noised,
        g.input("features", f32([batch, original.featureWidth])),
        g.input("context", f32([batch, ...contextShape.slice(1)])),
      );
      return { outputs: { prediction }, assigns: [[own, prediction]] };
    });
    return new OriginalPrediction(original, program, prepared, batch / views, own, destination);
  }

  /**
   * Queues the predictions of one iteration and their copy to the destination.
   * @param timesteps of each view; `noise` unit-normal, NCHW, for each view and in it for each search; `shown` the case of each view
   */
  async step(timesteps: readonly number[], noise: Float32Array, shown: readonly number[] = timesteps.map(() => 0)): Promise<void> {
    const { original, own, destination, restarts } = this;
    const [batch, height, width] = own.type.shape as [number, number, number];
    const rows = perRow(shown, restarts).map((i) => this.cases[i]!);
    await this.program.run({
      clean: joined(rows.map((r) => r.clean)),
      noise: toChannelsLast({
        data: noise as Float32Array<ArrayBuffer>,
        shape: [batch, original.parts.unet.config.inChannels, height, width],
      }),
      noising: viewCoefficients(original.alphasCumprod, timesteps).noising,
      features: original.timestepFeatures(perRow(timesteps, restarts), original.sizesOf(height, width)),
      context: joined(rows.map((r) => r.context)),
    });
    own.copyTo(destination);
  }
}
