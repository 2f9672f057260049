import { ADAM_HYPERPARAMETERS, adam } from "../../kernels/adam.ts";
import { categorical } from "../../kernels/categorical.ts";
import { clamp } from "../../kernels/clamp.ts";
import { concat } from "../../kernels/concat.ts";
import { embedding } from "../../kernels/embedding.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { linearCombination } from "../../kernels/linear-combination.ts";
import { l1Loss, mseLoss } from "../../kernels/loss.ts";
import { type Projection, simplexProjection } from "../../kernels/simplex-projection.ts";
import { slice } from "../../kernels/slice.ts";
import { gatherRows, scatterIds } from "../../kernels/slots.ts";
import { type NDArray, expectShape, toChannelsLast } from "../models/array.ts";
import { Layers } from "../models/layers.ts";
import { recordLearned } from "../models/learned-embedding.ts";
import type { LossKind, StableDiffusion } from "../models/stable-diffusion.ts";
import { type TextEncoderConfig, timesTokenTable, tokenTable } from "../models/text-encoder.ts";
import { gradients } from "../runtime/autodiff.ts";
import { type Estimate, estimateProgram } from "../runtime/estimate.ts";
import { Graph } from "../runtime/graph.ts";
import type { Program, ProgramOptions } from "../runtime/program.ts";
import { Tensor } from "../runtime/tensor.ts";
import { InverseNorms, nearestTokens } from "./nearest.ts";
import { likeliestTokens } from "./simplex.ts";

/**
 * What is searched for each slot: "simplex", probabilities of all tokens [vocabulary], from which a token is drawn (UnlearnDiffAtk); or "nearest",
 * a continuous embedding [hidden], of which the nearest token is taken (hard prompts, arXiv 2302.03668); or "continuous", an embedding that
 * itself stands in the prompt (textual inversion, arXiv 2208.01618), where the ids in its slots must be outside the vocabulary.
 */
export type RowKind = "simplex" | "nearest" | "continuous";

export interface ObjectiveShape {
  /** Adversarial tokens. */
  readonly tokens: number;
  /** Tokens of the framed prompt. */
  readonly length: number;
  /** Latent height and width. */
  readonly height: number;
  readonly width: number;
  readonly loss: LossKind;
  /** Default "simplex". */
  readonly rows?: RowKind;
  /** Onto the simplex; other rows are not projected. */
  readonly projection: Projection;
  /**
   * What the prediction is compared with: "noise" (default), for a v-prediction model the velocity; or "given", what another program puts into the `target`
   * tensor before each step, such as the original model's prediction (P4D, arXiv 2309.06135).
   */
  readonly target?: "noise" | "given";
  /** The token choices are given instead of drawn, and every intermediate result can be read: to follow a recorded run. */
  readonly replay?: boolean;
}

/** What the search owns: its rows and Adam's moments, f32 [tokens, vocabulary] each, of the other kinds [tokens, hidden]. */
export interface SearchState {
  readonly simplex: Float32Array<ArrayBuffer>;
  readonly firstMoment: Float32Array<ArrayBuffer>;
  readonly secondMoment: Float32Array<ArrayBuffer>;
}

export interface ObjectiveStart extends SearchState {
  /** The framed prompt, u32 [length]; what stands in the slots does not matter. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Positions of the adversarial tokens in `ids`. */
  readonly slots: readonly number[];
  /** Clean latents of the target picture, [1, C, h, w], scaled as the UNet sees them. */
  readonly latents: NDArray;
}

export interface ObjectiveStep {
  /** A whole timestep of the training schedule. */
  readonly timestep: number;
  /** Unit-normal noise of the latents' shape, NCHW. */
  readonly noise: Float32Array;
  /** Of simplex rows, one number in [0, 1) for each slot, by which its token is drawn; in a replay the tokens themselves, u32. */
  readonly draws?: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
  /** From `adamHyperparameters`. */
  readonly hyperparameters: Float32Array<ArrayBuffer>;
}

/** Losses that stay on the device until they are read. */
export const KEPT_LOSSES = 64;

/**
 * One iteration of UnlearnDiffAtk (arXiv 2310.11868, section 4; Diffusion-MU-Attack, text_grad_.py) as one program on the device:
 * a token is drawn for each slot from its simplex row; the prompt so made goes through the text encoder and the UNet; the loss against the known noise
 * is differentiated back to the token embeddings; for the one-hot rows the gradient is hardtanh(d embedding x token table^T), straight through
 * the draw; Adam moves the rows, and each is projected onto the simplex. Nothing comes back to the host but, on demand, the losses.
 * With rows "nearest" (hard_prompt_.py) the prompt has the token nearest to each continuous row, and the gradient there moves that row; nothing is projected.
 */
export class Objective {
  private constructor(
    private readonly model: StableDiffusion,
    private readonly shape: ObjectiveShape,
    private readonly state: ObjectiveTensors,
    readonly program: Program,
  ) {}

  /**
   * The objective of a shape; made once per model.
   * @throws ShaderCompileError, GpuError; FormatError for weights that cannot be read
   */
  static async for(model: StableDiffusion, shape: ObjectiveShape): Promise<Objective> {
    const key = `attack ${JSON.stringify(shape)}`;
    const state = model.keep(key, () => new ObjectiveTensors(model, shape));
    const norms = shape.rows === "nearest" ? await InverseNorms.for(model, shape.tokens) : undefined;
    const program = await model.program(key, (g) => record(g, model, shape, state, norms));
    return new Objective(model, shape, state, program);
  }

  /** What an iteration of that shape takes, known from its graph alone; rows "nearest" are not estimated. @throws ShapeError; Error for those rows */
  static estimate(model: StableDiffusion, shape: ObjectiveShape): Estimate {
    if (shape.rows === "nearest") throw new Error(`an iteration with rows "nearest" needs the token table's norms, which are computed: it cannot be estimated`);
    const state = new ObjectiveTensors(model, shape);
    try {
      const g = new Graph();
      const { outputs, assigns = [] } = record(g, model, shape, state, undefined);
      return estimateProgram(g, [...Object.values(outputs), ...assigns.map(([, v]) => v)], model.device.capabilities, model.device.bufferSharing);
    } finally {
      state.destroy();
    }
  }

  /** With `target: "given"`: f32 [1, h, w, C], channels-last. @throws Error without */
  get target(): Tensor {
    if (!this.state.target) throw new Error(`this objective compares with the noise: ask for target "given"`);
    return this.state.target;
  }

  /** Sets everything that stays the same over the iterations, and the state they change. @throws ShapeError or Error on sizes that do not fit */
  start({ ids, slots, latents, simplex, firstMoment, secondMoment }: ObjectiveStart): void {
    const { state, shape } = this;
    const channels = this.model.parts.unet.config.inChannels;
    state.ids.write(ids);
    state.slots.write(Uint32Array.from(slots));
    state.latents.write(toChannelsLast(expectShape("attack target latents", latents, [1, channels, shape.height, shape.width])));
    state.simplex.write(simplex);
    state.firstMoment.write(firstMoment);
    state.secondMoment.write(secondMoment);
  }

  /** Queues one iteration; does not wait. @throws DeviceLostError, or GpuError with what the device reported of earlier work */
  step({ timestep, noise, draws, hyperparameters }: ObjectiveStep): void {
    const { height, width } = this.shape;
    const { inChannels } = this.model.parts.unet.config;
    const cumulative = this.model.alphasCumprod[timestep];
    if (cumulative === undefined) throw new RangeError(`timestep ${timestep} must be a whole number from 0 to ${this.model.alphasCumprod.length - 1}`);
    const [signal, sigma] = [Math.sqrt(cumulative), Math.sqrt(1 - cumulative)];
    const data = noise as Float32Array<ArrayBuffer>;
    this.program.run({
      ...(draws && { draws }),
      noise: toChannelsLast(expectShape("attack noise", { data, shape: [1, inChannels, height, width] }, [1, inChannels, height, width])),
      noising: Float32Array.of(signal, sigma),
      ...(usesVelocity(this.model, this.shape) && { velocity: Float32Array.of(-sigma, signal) }),
      features: this.model.timestepFeatures([timestep]),
      hyperparameters,
    });
  }

  /** Losses of the last `count` iterations queued, oldest first. Waits for them; may be called while more are queued. @throws RangeError above KEPT_LOSSES */
  async losses(count: number): Promise<Float32Array> {
    if (count > KEPT_LOSSES) throw new RangeError(`${count} losses asked for, the last ${KEPT_LOSSES} are kept`);
    const kept = (await this.state.losses.read()) as Float32Array;
    return kept.slice(KEPT_LOSSES - count);
  }

  /** The tokens that the rows stand for, after all that is queued: of a simplex row the likeliest, else the nearest. @throws Error for continuous rows */
  async tokens(): Promise<number[]> {
    const { model, shape, state } = this;
    const { config, parameters } = model.parts.textEncoder;
    if (shape.rows === "continuous") throw new Error("continuous rows stand for themselves, not for tokens");
    if (shape.rows !== "nearest") return likeliestTokens((await state.simplex.read()) as Float32Array, config.vocabularySize);
    const norms = await InverseNorms.for(model, shape.tokens);
    const program = await model.program(`nearest tokens ${JSON.stringify(shape)}`, (g) => ({
      outputs: { tokens: nearestTokens(g, g.tensor(state.simplex), tokenTable(new Layers(g, parameters), config), g.tensor(norms)) },
    }));
    program.run();
    return [...(await program.read("tokens"))["tokens"]!];
  }

  /** The rows and moments after all that is queued. */
  async readState(): Promise<SearchState> {
    const { simplex, firstMoment, secondMoment } = this.state;
    const [a, b, c] = await Promise.all([simplex, firstMoment, secondMoment].map((t) => t.read() as Promise<Float32Array<ArrayBuffer>>));
    return { simplex: a!, firstMoment: b!, secondMoment: c! };
  }
}

/** Numbers of one row. */
export function rowWidth({ vocabularySize, hiddenSize }: TextEncoderConfig, kind: RowKind = "simplex"): number {
  return kind === "simplex" ? vocabularySize : hiddenSize;
}

function usesVelocity(model: StableDiffusion, shape: ObjectiveShape): boolean {
  return shape.target !== "given" && model.predictionType === "v_prediction";
}

class ObjectiveTensors {
  readonly ids: Tensor;
  readonly slots: Tensor;
  readonly latents: Tensor;
  readonly simplex: Tensor;
  readonly firstMoment: Tensor;
  readonly secondMoment: Tensor;
  readonly losses: Tensor;
  readonly target: Tensor | undefined;

  constructor({ device, parts }: StableDiffusion, { tokens, length, height, width, target, rows: kind }: ObjectiveShape) {
    const rows = f32([tokens, rowWidth(parts.textEncoder.config, kind)]);
    this.ids = new Tensor(device, "attack.ids", { shape: [1, length], dtype: "u32" });
    this.slots = new Tensor(device, "attack.slots", { shape: [tokens], dtype: "u32" });
    this.latents = new Tensor(device, "attack.latents", f32([1, height, width, parts.unet.config.inChannels]));
    this.simplex = new Tensor(device, "attack.simplex", rows);
    this.firstMoment = new Tensor(device, "attack.firstMoment", rows);
    this.secondMoment = new Tensor(device, "attack.secondMoment", rows);
    this.losses = new Tensor(device, "attack.losses", f32([KEPT_LOSSES]));
    this.target = target === "given" ? new Tensor(device, "attack.target", f32([1, height, width, parts.unet.config.outChannels])) : undefined;
  }

  destroy(): void {
    for (const tensor of [this.ids, this.slots, this.latents, this.simplex, this.firstMoment, this.secondMoment, this.losses, this.target]) tensor?.destroy();
  }
}

function record(g: Graph, model: StableDiffusion, shape: ObjectiveShape, state: ObjectiveTensors, norms: Tensor | undefined): ProgramOptions {
  const { config, parameters } = model.parts.textEncoder;
  const simplex = g.tensor(state.simplex);
  const slots = g.tensor(state.slots);
  const table = tokenTable(new Layers(g, parameters), config);
  const drawn = (): Value => (shape.replay ? g.input("draws", { shape: [shape.tokens], dtype: "u32" }) : categorical(g, simplex, g.input("draws", f32([shape.tokens]))));
  const continuous = shape.rows === "continuous";
  const choice = continuous ? undefined : norms ? nearestTokens(g, simplex, table, g.tensor(norms)) : drawn();
  const ids = g.tensor(state.ids);
  const embeddings = choice ? embedding(g, table, scatterIds(g, ids, choice, slots)) : recordLearned(g, model, { ids, rows: simplex, positions: slots });

  const clean = g.tensor(state.latents);
  const noise = g.input("noise", clean.type);
  const noised = linearCombination(g, g.input("noising", f32([2])), [clean, noise]);
  const known = usesVelocity(model, shape) ? linearCombination(g, g.input("velocity", f32([2])), [clean, noise]) : noise;
  const target = state.target ? g.tensor(state.target) : known;
  const features = g.input("features", f32([1, model.featureWidth]));
  const prediction = model.recordUNet(g, noised, features, model.recordTextEncoder(g, embeddings));
  const loss = (shape.loss === "mse" ? mseLoss : l1Loss)(g, prediction, target);

  const embeddingGradient = gradients(g, loss, [embeddings])[0]!;
  const slotGradient = gatherRows(g, embeddingGradient, slots);
  const gradient = norms || continuous ? slotGradient : clamp(g, timesTokenTable(g, slotGradient, table));
  const hyperparameters = g.input("hyperparameters", f32([ADAM_HYPERPARAMETERS]));
  const moved = adam(g, { parameter: simplex, m: g.tensor(state.firstMoment), v: g.tensor(state.secondMoment) }, gradient, hyperparameters);
  const projected = norms || continuous ? moved.parameter : simplexProjection(g, moved.parameter, shape.projection);
  const losses = concat(g, slice(g, g.tensor(state.losses), 1, KEPT_LOSSES - 1), loss);

  const outputs: Record<string, Value> = shape.replay ? { ...(norms && choice && { choice }), loss, prediction, embeddingGradient, gradient, moved: moved.parameter, projected } : choice ? { choice } : { loss };
  return {
    outputs,
    assigns: [
      [state.simplex, projected],
      [state.firstMoment, moved.m],
      [state.secondMoment, moved.v],
      [state.losses, losses],
    ],
  };
}
