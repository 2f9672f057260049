import { ADAM_HYPERPARAMETERS, adam } from "../../../kernels/adam.ts";
import { broadcastTo, sumRows } from "../../../kernels/broadcast.ts";
import { categorical } from "../../../kernels/categorical.ts";
import { clamp } from "../../../kernels/clamp.ts";
import { concat } from "../../../kernels/concat.ts";
import { add, multiply, scale } from "../../../kernels/elementwise.ts";
import { embedding } from "../../../kernels/embedding.ts";
import { type Value, elementCount, f32 } from "../../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../../kernels/loss.ts";
import { reshape } from "../../../kernels/reshape.ts";
import { type Projection, simplexProjection } from "../../../kernels/simplex-projection.ts";
import { slice } from "../../../kernels/slice.ts";
import { gatherRows, scatterIds } from "../../../kernels/slots.ts";
import { type NDArray, expectShape, toChannelsLast } from "../../nn/array.ts";
import { Layers } from "../../nn/layers.ts";
import { recordLearned } from "../../diffusion/learned-embedding.ts";
import type { LossKind, StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { type TextEncoderConfig, timesTokenTable, tokenTable } from "../../diffusion/text-encoder.ts";
import { gradients } from "../../runtime/autodiff.ts";
import { type Estimate, estimateProgram } from "../../runtime/plan/estimate.ts";
import { Graph } from "../../runtime/graph.ts";
import type { Program, ProgramOptions } from "../../runtime/program.ts";
import { Tensor } from "../../runtime/tensor.ts";
import { InverseNorms, nearestTokens } from "./nearest.ts";
import { likeliest, likeliestTokens, type SlotToken } from "./simplex.ts";
import { TokenMask, type Vocabulary } from "./vocabulary.ts";
import { combineViews, perRow, viewCoefficients } from "./timestep-views.ts";

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
  /** Searches side by side, each with rows and moments of its own: `tokens` rows each, search by search. Default 1. */
  readonly restarts?: number;
  /** Prompts, pictures and timesteps that each search sees in one iteration; its loss is their mean. Default 1. */
  readonly views?: number;
  /** Tokens that may be chosen. Default "all". */
  readonly vocabulary?: Vocabulary;
  /** The token choices are given instead of drawn, and every intermediate result can be read: to follow a recorded run. */
  readonly replay?: boolean;
}

/** What the search owns: its rows and Adam's moments, f32 [restarts * tokens, vocabulary] each, of the other kinds [.., hidden]. */
export interface SearchState {
  readonly simplex: Float32Array<ArrayBuffer>;
  readonly firstMoment: Float32Array<ArrayBuffer>;
  readonly secondMoment: Float32Array<ArrayBuffer>;
}

/** What a search looks at: a prompt with room for its tokens, and a picture. */
export interface ObjectiveView {
  /** The framed prompt, u32 [length]; what stands in the slots does not matter. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Positions of the adversarial tokens in `ids`. */
  readonly slots: readonly number[];
  /** Clean latents of the target picture, [1, C, h, w], scaled as the UNet sees them. */
  readonly latents: NDArray;
}

export interface ObjectiveStart extends SearchState, ObjectiveView {}

export interface ObjectiveStep {
  /** A whole timestep of the training schedule; of several views one for each. */
  readonly timestep: number | readonly number[];
  /** Unit-normal noise of the latents' shape, NCHW, for each view and in it for each search. */
  readonly noise: Float32Array;
  /** Of simplex rows, one number in [0, 1) for each slot of each search, by which its token is drawn; in a replay the tokens themselves, u32. */
  readonly draws?: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
  /** From `adamHyperparameters`. */
  readonly hyperparameters: Float32Array<ArrayBuffer>;
}

/** Losses that stay on the device until they are read. */
export const KEPT_LOSSES = 64;
/** Tokens that are told of a slot. */
const TOLD_TOKENS = 3;

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
    const norms = shape.rows === "nearest" ? await InverseNorms.for(model, shape.tokens * restartsOf(shape)) : undefined;
    const mask = maskOf(model, shape);
    const program = await model.program(key, (g) => record(g, model, shape, state, norms, mask));
    return new Objective(model, shape, state, program);
  }

  /** What an iteration of that shape takes, known from its graph alone; rows "nearest" are not estimated. @throws ShapeError; Error for those rows */
  static estimate(model: StableDiffusion, shape: ObjectiveShape): Estimate {
    if (shape.rows === "nearest") throw new Error(`an iteration with rows "nearest" needs the token table's norms, which are computed: it cannot be estimated`);
    const state = new ObjectiveTensors(model, shape);
    try {
      const g = new Graph();
      return estimateProgram(g, record(g, model, shape, state, undefined, maskOf(model, shape)), model.device.capabilities, model.device.bufferSharing);
    } finally {
      state.destroy();
    }
  }

  /** With `target: "given"`: f32 [1, h, w, C], channels-last. @throws Error without */
  get target(): Tensor {
    if (!this.state.target) throw new Error(`this objective compares with the noise: ask for target "given"`);
    return this.state.target;
  }

  /** Sets what the iterations look at, one view in place of all, and the state they change. @throws ShapeError or Error on sizes that do not fit */
  start({ simplex, firstMoment, secondMoment, ...view }: ObjectiveStart): void {
    const { state, shape } = this;
    this.show(new Array<ObjectiveView>(viewsOf(shape)).fill(view));
    state.simplex.write(simplex);
    state.firstMoment.write(firstMoment);
    state.secondMoment.write(secondMoment);
  }

  /** Sets what the iterations queued from now on look at. @throws ShapeError or Error on sizes that do not fit */
  show(views: readonly ObjectiveView[]): void {
    const { state, shape: { length, height, width, ...shape } } = this;
    const channels = this.model.parts.unet.config.inChannels;
    const rows = perRow(views, restartsOf(shape));
    const joined = new Float32Array(rows.length * height * width * channels);
    rows.forEach(({ latents }, b) => joined.set(toChannelsLast(expectShape("attack target latents", latents, [1, channels, height, width])), (b * joined.length) / rows.length));
    state.ids.write(Uint32Array.from(rows.flatMap(({ ids }) => [...ids])));
    state.slots.write(Uint32Array.from(rows.flatMap(({ slots }, b) => slots.map((position) => b * length + position))));
    state.latents.write(joined);
  }

  /** Queues one iteration: see `Program.run`. @throws DeviceLostError, or GpuError with what the device reported of earlier work; AbortError, after which the state is to be set again */
  async step({ timestep, noise, draws, hyperparameters }: ObjectiveStep, signal?: AbortSignal): Promise<void> {
    const { height, width } = this.shape;
    const { inChannels } = this.model.parts.unet.config;
    const timesteps = typeof timestep === "number" ? new Array<number>(viewsOf(this.shape)).fill(timestep) : timestep;
    const { noising, velocity } = viewCoefficients(this.model.alphasCumprod, timesteps);
    const rows = perRow(timesteps, restartsOf(this.shape));
    const shape = [rows.length, inChannels, height, width];
    await this.program.run({
      ...(draws && { draws }),
      noise: toChannelsLast(expectShape("attack noise", { data: noise as Float32Array<ArrayBuffer>, shape }, shape)),
      noising,
      ...(usesVelocity(this.model, this.shape) && { velocity }),
      features: this.model.timestepFeatures(rows),
      hyperparameters,
    }, { signal });
  }

  /** Losses of the last `count` iterations queued, oldest first, of the first search. @throws as `allLosses` */
  async losses(count: number): Promise<Float32Array> {
    return (await this.allLosses(count))[0]!;
  }

  /** The same for each search. Waits for them; may be called while more are queued. @throws RangeError above KEPT_LOSSES */
  async allLosses(count: number): Promise<Float32Array[]> {
    if (count > KEPT_LOSSES) throw new RangeError(`${count} losses asked for, the last ${KEPT_LOSSES} are kept`);
    const kept = (await this.state.losses.read()) as Float32Array;
    return Array.from({ length: restartsOf(this.shape) }, (_, r) => kept.slice((r + 1) * KEPT_LOSSES - count, (r + 1) * KEPT_LOSSES));
  }

  /** The tokens that the rows stand for, search by search, after all that is queued: of a simplex row the likeliest, else the nearest. @throws Error for continuous rows */
  async tokens(): Promise<number[]> {
    const { model, shape, state } = this;
    const { config, parameters } = model.parts.textEncoder;
    if (shape.rows === "continuous") throw new Error("continuous rows stand for themselves, not for tokens");
    if (shape.rows !== "nearest") return likeliestTokens((await state.simplex.read()) as Float32Array, config.vocabularySize);
    const norms = await InverseNorms.for(model, shape.tokens * restartsOf(shape));
    const program = await model.program(`nearest tokens ${JSON.stringify(shape)}`, (g) => ({
      outputs: { tokens: nearestTokens(g, g.tensor(state.simplex), tokenTable(new Layers(g, parameters), config), g.tensor(norms), barredOf(g, maskOf(model, shape))) },
    }));
    await program.run();
    return [...(await program.read("tokens"))["tokens"]!];
  }

  /** What each slot may come to hold, search by search, after all that is queued: of a simplex row the likeliest tokens, else the nearest one. May be called while more is queued. @throws Error for continuous rows */
  async slots(): Promise<SlotToken[][]> {
    if ((this.shape.rows ?? "simplex") !== "simplex") return (await this.tokens()).map((id) => [{ id, share: 1 }]);
    return likeliest((await this.state.simplex.read()) as Float32Array, this.model.parts.textEncoder.config.vocabularySize, TOLD_TOKENS);
  }

  /** The rows and moments after all that is queued. */
  async readState(): Promise<SearchState> {
    const { simplex, firstMoment, secondMoment } = this.state;
    const [a, b, c] = await Promise.all([simplex, firstMoment, secondMoment].map((t) => t.read() as Promise<Float32Array<ArrayBuffer>>));
    return { simplex: a!, firstMoment: b!, secondMoment: c! };
  }
}

function maskOf(model: StableDiffusion, { tokens, restarts = 1, vocabulary }: ObjectiveShape): TokenMask | undefined {
  return TokenMask.for(model, restarts * tokens, vocabulary);
}

function barredOf(g: Graph, mask: TokenMask | undefined): Value | undefined {
  return mask && g.tensor(mask.barred);
}

function restartsOf({ restarts = 1 }: Pick<ObjectiveShape, "restarts">): number {
  return restarts;
}

function viewsOf({ views = 1 }: Pick<ObjectiveShape, "views">): number {
  return views;
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

  constructor({ device, parts }: StableDiffusion, { tokens, length, height, width, target, rows: kind, restarts = 1, views = 1 }: ObjectiveShape) {
    const rows = f32([restarts * tokens, rowWidth(parts.textEncoder.config, kind)]);
    const batch = restarts * views;
    this.ids = new Tensor(device, "attack.ids", { shape: [batch, length], dtype: "u32" });
    this.slots = new Tensor(device, "attack.slots", { shape: [batch * tokens], dtype: "u32" });
    this.latents = new Tensor(device, "attack.latents", f32([batch, height, width, parts.unet.config.inChannels]));
    this.simplex = new Tensor(device, "attack.simplex", rows);
    this.firstMoment = new Tensor(device, "attack.firstMoment", rows);
    this.secondMoment = new Tensor(device, "attack.secondMoment", rows);
    this.losses = new Tensor(device, "attack.losses", f32([restarts, KEPT_LOSSES]));
    this.target = target === "given" ? new Tensor(device, "attack.target", f32([batch, height, width, parts.unet.config.outChannels])) : undefined;
  }

  destroy(): void {
    for (const tensor of [this.ids, this.slots, this.latents, this.simplex, this.firstMoment, this.secondMoment, this.losses, this.target]) tensor?.destroy();
  }
}

function record(g: Graph, model: StableDiffusion, shape: ObjectiveShape, state: ObjectiveTensors, norms: Tensor | undefined, mask: TokenMask | undefined): ProgramOptions {
  const { config, parameters } = model.parts.textEncoder;
  const simplex = g.tensor(state.simplex);
  const slots = g.tensor(state.slots);
  const table = tokenTable(new Layers(g, parameters), config);
  const [restarts, views] = [restartsOf(shape), viewsOf(shape)];
  const rows = restarts * shape.tokens;
  const allowed = (x: Value): Value => (mask ? multiply(g, x, g.tensor(mask.allowed)) : x);
  const barred = barredOf(g, mask);
  const drawn = (): Value => (shape.replay ? g.input("draws", { shape: [rows], dtype: "u32" }) : categorical(g, allowed(simplex), g.input("draws", f32([rows]))));
  const inEachView = (x: Value): Value => (views === 1 ? x : reshape(g, broadcastTo(g, x, [views, ...x.type.shape]), [views * rows, ...x.type.shape.slice(1)]));
  const continuous = shape.rows === "continuous";
  const choice = continuous ? undefined : norms ? nearestTokens(g, simplex, table, g.tensor(norms), barred) : drawn();
  const ids = g.tensor(state.ids);
  const embeddings = choice ? embedding(g, table, scatterIds(g, ids, choice, slots)) : recordLearned(g, model, { ids, rows: inEachView(simplex), positions: slots });

  const clean = g.tensor(state.latents);
  const noise = g.input("noise", clean.type);
  const noised = combineViews(g, "noising", views, clean, noise);
  const known = usesVelocity(model, shape) ? combineViews(g, "velocity", views, clean, noise) : noise;
  const target = state.target ? g.tensor(state.target) : known;
  const features = g.input("features", f32([restarts * views, model.featureWidth]));
  const context = model.recordTextEncoder(g, embeddings);
  const prediction = model.recordUNet(g, noised, features, context);
  const measure = shape.loss === "mse" ? mseLoss : l1Loss;
  const loss = measure(g, prediction, target);

  const embeddingGradient = gradients(g, loss, [embeddings], undefined, model.rescaleAt(prediction, context))[0]!;
  const hidden = config.hiddenSize;
  const everySlot = gatherRows(g, reshape(g, embeddingGradient, [1, restarts * views * shape.length, hidden]), slots);
  const ofViews = views === 1 ? everySlot : sumRows(g, reshape(g, everySlot, [views, rows, hidden]), [rows, hidden]);
  const slotGradient = restarts === 1 ? ofViews : scale(g, ofViews, restarts); // the loss is the mean of all searches', each follows its own
  const gradient = norms || continuous ? slotGradient : allowed(clamp(g, timesTokenTable(g, slotGradient, table)));
  const hyperparameters = g.input("hyperparameters", f32([ADAM_HYPERPARAMETERS]));
  const moved = adam(g, { parameter: simplex, m: g.tensor(state.firstMoment), v: g.tensor(state.secondMoment) }, gradient, hyperparameters);
  const projected = norms || continuous ? moved.parameter : simplexProjection(g, barred ? add(g, moved.parameter, barred) : moved.parameter, shape.projection);
  const losses = concat(g, slice(g, g.tensor(state.losses), 1, KEPT_LOSSES - 1), reshape(g, lossOfEach(g, restarts, views, measure, prediction, target, loss), [restarts, 1]));

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

/** The mean loss over the views of each search, [restarts]. */
function lossOfEach(g: Graph, restarts: number, views: number, measure: typeof mseLoss, prediction: Value, target: Value, ofAll: Value): Value {
  if (restarts === 1) return ofAll;
  const size = elementCount(prediction.type.shape) / (restarts * views);
  const of = (x: Value, r: number): Value => slice(g, reshape(g, x, [views, restarts * size]), r * size, size);
  const losses = Array.from({ length: restarts }, (_, r) => measure(g, of(prediction, r), of(target, r)));
  return losses.reduce((joined, one) => concat(g, joined, one));
}
