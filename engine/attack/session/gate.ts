import type { NDArray } from "../../nn/array.ts";
import { predictionErrors } from "../../diffusion/diffusion-classifier.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { Generator } from "../../runtime/random/random.ts";
import { type ResolvedOptions, attackTimesteps } from "../resolve.ts";
import type { GateVerdict } from "./evaluation.ts";

/** Predictions made together. */
const BATCH = 4;

/** What a case is compared by: its picture's latents, and the error under its original prompt. */
interface Baseline {
  readonly latents: NDArray;
  readonly error: number;
}

/** Says whether a prompt is worth drawing: see `GateOptions`. A few predictions instead of a sampling run. */
export class Gate {
  private readonly baselines = new Map<number, Promise<Baseline>>();
  private readonly timesteps: readonly number[];
  private readonly margin: number;

  constructor(private readonly model: StableDiffusion, private readonly options: ResolvedOptions) {
    const { margin = 0, samples = 8 } = options.gate ?? {};
    this.margin = margin;
    this.timesteps = attackTimesteps(model.alphasCumprod.length, samples);
  }

  /** @param context encoding of the prompt, [1, length, D] @param number of the case */
  async check(context: NDArray, number: number): Promise<GateVerdict> {
    const { latents, error: baseline } = await this.baseline(number);
    const error = await this.error(latents, context);
    return { error, baseline, passed: error < (1 - this.margin) * baseline };
  }

  private baseline(number: number): Promise<Baseline> {
    let known = this.baselines.get(number);
    if (!known) this.baselines.set(number, (known = this.measure(number)));
    return known;
  }

  private async measure(number: number): Promise<Baseline> {
    const { model, options } = this;
    const { prompt, target } = options.cases[number]!;
    const latents = await model.encodeImage(target!);
    return { latents, error: await this.error(latents, await model.encodePrompt(prompt)) };
  }

  /** The mean over the timesteps; all prompts see the same noise. */
  private async error(latents: NDArray, context: NDArray): Promise<number> {
    const { model, options, timesteps } = this;
    const random = new Generator(options.attackSeed ?? 0);
    const rows = timesteps.map((timestep) => ({
      timestep,
      context,
      noise: { data: random.randn(latents.shape) as Float32Array<ArrayBuffer>, shape: latents.shape },
    }));
    let sum = 0;
    for (let first = 0; first < rows.length; first += BATCH) {
      options.signal?.throwIfAborted();
      for (const error of await predictionErrors(model, latents, rows.slice(first, first + BATCH), options.loss)) sum += error;
    }
    return sum / rows.length;
  }
}
