import { f32 } from "../../../kernels/kernel.ts";
import type { Value } from "../../../kernels/kernel.ts";
import { noiseScheduleOnly, parseSchedulerConfig } from "../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { type NDArray, toChannelsLast, stackRows } from "../../nn/array.ts";
import type { Graph } from "../../runtime/graph.ts";
import { compVisAlphasCumprod } from "./compvis-noise.ts";
import type { Draws } from "./draws.ts";

/** Pictures at noise levels, and what a model is to predict for them. NHWC. */
export interface Noised {
  readonly noised: Float32Array<ArrayBuffer>;
  /** The noise, or the velocity of a model that predicts that. */
  readonly target: Float32Array<ArrayBuffer>;
  readonly noise: Float32Array<ArrayBuffer>;
  readonly features: Float32Array<ArrayBuffer>;
  /** Other latents with the same noise at the same timesteps. */
  at(latents: NDArray): Noised;
}

/** How pictures get to a noise level. */
export interface Noising {
  /** Of the draws' names. Default "". */
  readonly prefix?: string;
  /** Noise levels as CompVis's code has them, in float64. Default false: as diffusers, in float32. */
  readonly compVis?: boolean;
}

/** Draws a timestep for each picture, then the noise of all. @param latents [B, C, h, w] */
export function drawNoised(model: StableDiffusion, draws: Draws, latents: NDArray, how: Noising = {}): Noised {
  const { prefix = "" } = how;
  const count = latents.shape[0]!;
  const timesteps = Array.from({ length: count }, () => draws.whole(`${prefix}t`, 0, model.alphasCumprod.length));
  return noisedAt(model, latents, { data: draws.normal(`${prefix}noise`, latents.shape), shape: latents.shape }, timesteps, how);
}

/** Latents with this noise at these timesteps, one for each. */
function noisedAt(model: StableDiffusion, latents: NDArray, noise: NDArray, timesteps: readonly number[], how: Noising): Noised {
  const table = how.compVis
    ? compVisAlphasCumprod(parseSchedulerConfig("ddim", noiseScheduleOnly(model.parts.scheduler)))
    : model.alphasCumprod;
  const size = latents.data.length / timesteps.length;
  const row = ({ data, shape }: NDArray, i: number): NDArray => ({
    data: data.slice(i * size, (i + 1) * size),
    shape: [1, ...shape.slice(1)],
  });
  const rows = timesteps.map((t, i) => model.addNoise(row(latents, i), row(noise, i), t, table));
  return {
    noised: toChannelsLast(stackRows(rows.map((r) => r.noised))),
    target: toChannelsLast(stackRows(rows.map((r) => r.target))),
    noise: toChannelsLast(noise),
    features: model.timestepFeatures(timesteps),
    at: (others) => noisedAt(model, others, noise, timesteps, how),
  };
}

/** Input `name` for latents [B, h, w, C], on a graph. */
export function latentsInput(
  g: Graph,
  model: StableDiffusion,
  name: string,
  batch: number,
  [height, width]: readonly [number, number],
): Value {
  return g.input(name, f32([batch, height, width, model.parts.unet.config.inChannels]));
}

/** Text encodings of prompts by a model that does not change, each made once. */
export class Encodings {
  private readonly known = new Map<string, NDArray>();

  constructor(private readonly model: StableDiffusion) {}

  /** [B, T, D] */
  async of(prompts: readonly string[]): Promise<Float32Array<ArrayBuffer>> {
    const all: NDArray[] = [];
    for (const prompt of prompts) {
      const known = this.known.get(prompt) ?? (await this.model.encodePrompt(prompt));
      this.known.set(prompt, known);
      all.push(known);
    }
    return stackRows(all).data;
  }
}

/** Framed ids of prompts, one after the other. */
export function idsOf(model: StableDiffusion, prompts: readonly string[]): Uint32Array<ArrayBuffer> {
  return Uint32Array.from(prompts.flatMap((prompt) => [...model.tokenizer.encode(prompt)]));
}
