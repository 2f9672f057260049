import { type NDArray, stackRows } from "../../nn/array.ts";
import { latentLoss } from "./latent-loss.ts";
import { noised } from "./encode.ts";
import type { StableDiffusion } from "../stable-diffusion.ts";

/** Published: 20 iterations, .001, .9, .25, .05 after every fifth timestep (RECALL, attack.py). */
export interface RecallOptions {
  /** +1: the loss is ascended, as the published code does; -1: descended. */
  readonly sign: 1 | -1;
  readonly iterations: number;
  readonly learningRate: number;
  readonly momentum: number;
  /** Share of the picture in the first latents. */
  readonly blend: number;
  /** Share of the picture added after every `interval`-th timestep. */
  readonly reinject: number;
  readonly interval: number;
  /** Begins anew from noise at every timestep. */
  readonly eachFromNoise: boolean;
}

/** What one iteration did. */
export interface RecallIteration {
  readonly loss: number;
  /** Divided by its mean absolute value. */
  readonly gradient: Float32Array;
  /** After the update, before re-injection. */
  readonly latents: Float32Array;
}

/** What is random in it, in the order drawn. */
export interface RecallDraws {
  /** What the first latents are blended with, and with `eachFromNoise` those of every timestep. */
  readonly start: (timestep: number, index: number) => Float32Array;
  /** The noise of one iteration, shared by both predictions. */
  readonly noise: (timestep: number, iteration: number) => Float32Array<ArrayBuffer>;
}

/** Where a search stands between two timesteps. */
export interface RecallState {
  readonly latents: Float32Array<ArrayBuffer>;
  readonly velocity: Float32Array<ArrayBuffer>;
}

/** Timesteps of `count` parts, ascending: 1000 // N // 2 and then every 1000 // N. */
export function recallTimesteps(total: number, count: number): number[] {
  const stride = Math.floor(total / count);
  return Array.from({ length: count }, (_, i) => Math.floor(stride / 2) + i * stride);
}

/**
 * RECALL (arXiv 2507.07139, attack.py): latents are moved by the sign of a momentum of the gradient of a noise-matching loss. With both
 * halves of the batch [empty, prompt] and a fresh noise, L = MSE(eps(noised picture), eps(noised latents)), without guidance;
 * g / (mean|g| + 1e-8); v = momentum v + g; x + sign lr sign(v), where sign(0) = 0.
 */
export class Recall {
  constructor(
    private readonly model: StableDiffusion,
    /** Latents of the reference picture, [1, C, h, w]. */
    private readonly picture: NDArray,
    /** Text encodings of the empty prompt and the prompt, [2, T, D]. */
    private readonly context: NDArray,
    private readonly options: RecallOptions,
    private readonly draws: RecallDraws,
  ) {}

  /** Latents blended of picture and noise, and no velocity. */
  begin(timestep: number, index = 0): RecallState {
    const { blend } = this.options;
    const start = this.draws.start(timestep, index);
    return {
      latents: this.picture.data.map((x, i) => blend * x + (1 - blend) * start[i]!),
      velocity: new Float32Array(start.length),
    };
  }

  /**
   * All iterations of one timestep, and re-injection where it is due.
   * @param index of the timestep, from 0
   * @param onIteration told of every iteration
   */
  async timestep(
    before: RecallState,
    timestep: number,
    index: number,
    onIteration?: (iteration: RecallIteration) => void | Promise<void>,
  ): Promise<RecallState> {
    const { iterations, eachFromNoise } = this.options;
    let state = eachFromNoise ? this.begin(timestep, index) : before;
    for (let i = 0; i < iterations; i++) {
      const step = await this.iterate(state, timestep, this.draws.noise(timestep, i));
      await onIteration?.(step);
      state = step.state;
    }
    return this.reinjected(state, index);
  }

  /** After every `interval`-th timestep (not iteration) a share of the picture is added. @param index of the timestep, from 0 */
  reinjected(state: RecallState, index: number): RecallState {
    const { interval, reinject } = this.options;
    if ((index + 1) % interval !== 0) return state;
    return { ...state, latents: state.latents.map((x, i) => x + reinject * this.picture.data[i]!) };
  }

  /** One iteration from given latents and velocity. */
  async iterate(
    { latents, velocity }: RecallState,
    timestep: number,
    noise: Float32Array<ArrayBuffer>,
  ): Promise<RecallIteration & { readonly state: RecallState }> {
    const { model, picture, context } = this;
    const { shape } = picture;
    const alpha = model.alphasCumprod[timestep]!;
    const reference = noised(picture, noise, { signal: Math.sqrt(alpha), sigma: Math.sqrt(1 - alpha) });
    const target = await model.predictNoise(stackRows([reference, reference]), timestep, context);
    const { loss, gradient } = await latentLoss(model, {
      latents: { data: latents, shape },
      noise: { data: noise, shape },
      timestep,
      context,
      target,
    });
    const normalized = normalizeGradient(gradient.data);
    const state = this.update({ latents, velocity }, normalized);
    return { loss, gradient: normalized, latents: state.latents, state };
  }

  /** Momentum and step by its sign. @param gradient normalised */
  update({ latents, velocity }: RecallState, gradient: Float32Array): RecallState {
    const { momentum, learningRate, sign } = this.options;
    const next = velocity.map((v, i) => momentum * v + gradient[i]!);
    return { velocity: next, latents: latents.map((x, i) => x + sign * learningRate * Math.sign(next[i]!)) };
  }
}

function normalizeGradient(gradient: Float32Array): Float32Array<ArrayBuffer> {
  const mean = gradient.reduce((sum, g) => sum + Math.abs(g), 0) / gradient.length;
  return Float32Array.from(gradient, (g) => g / (mean + 1e-8));
}
