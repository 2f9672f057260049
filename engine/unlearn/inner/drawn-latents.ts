import type { NDArray } from "../../nn/array.ts";
import type { Tensor } from "../../runtime/tensor.ts";
import { latentTensor } from "../common/predict.ts";
import { Trajectories, compVisPlan } from "../common/trajectory.ts";
import type { UnlearnSession } from "../training.ts";

/**
 * Latents that the unchanged model draws for a batch of prompts by CompVis's DDIM, from noise to some step. They are kept in a tensor of
 * their own, since two batches of one size have one sampler.
 */
export class DrawnLatents {
  /** [B, h, w, C] */
  readonly z: Tensor;
  private readonly paths: Trajectories;

  /** @param empty encoding of the empty prompt [1, T, D], which guidance leads away from */
  constructor(
    private readonly session: Pick<UnlearnSession, "base" | "settings" | "draws" | "signal">,
    private readonly empty: NDArray,
    name: string,
    batch: number,
  ) {
    const { base, settings, signal } = session;
    this.paths = new Trajectories(base, settings, batch, signal);
    this.z = latentTensor(base, name, batch, settings.latentSize);
  }

  /** @param end as `compVisPlan`'s `toStep` @param texts encodings [1, T, D], one for each of the batch @param noise the draw's name */
  async draw(end: number, texts: readonly NDArray[], noise: string): Promise<void> {
    const { base, draws, settings: { samplingSteps, latentSize } } = this.session;
    const shape = [texts.length, base.parts.unet.config.inChannels, ...latentSize];
    await this.paths.run(compVisPlan(base, samplingSteps!, end), texts, this.empty, { data: draws.normal(noise, shape), shape });
    this.paths.sampler.sample.copyTo(this.z);
  }
}
