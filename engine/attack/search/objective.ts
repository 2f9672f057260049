import { type NDArray, expectShape, toChannelsLast } from "../../nn/array.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { type Estimate, estimateProgram } from "../../runtime/plan/estimate.ts";
import { Graph } from "../../runtime/graph.ts";
import type { Program, ProgramOptions } from "../../runtime/program.ts";
import type { Tensor } from "../../runtime/tensor.ts";
import {
  type FullShape,
  KEPT_LOSSES,
  type ObjectiveShape,
  ObjectiveTensors,
  recordIteration,
  usesVelocity,
  withDefaults,
} from "./iteration-program.ts";
import type { SlotToken } from "./simplex.ts";
import { perRow, viewCoefficients } from "./timestep-views.ts";

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
  /**
   * What the kind of rows takes to choose tokens: of simplex rows one number in [0, 1) for each slot of each search, by which its token is
   * drawn.
   */
  readonly draws?: Float32Array<ArrayBuffer>;
  /** From `adamHyperparameters`. */
  readonly hyperparameters: Float32Array<ArrayBuffer>;
}

/** Tokens that are told of a slot. */
const TOLD_TOKENS = 3;

/**
 * One iteration of UnlearnDiffAtk (arXiv 2310.11868, section 4; Diffusion-MU-Attack, text_grad_.py) as one program on the device:
 * a token is drawn for each slot from its simplex row; the prompt so made goes through the text encoder and the UNet; the loss against the
 * known noise is differentiated back to the token embeddings; for the one-hot rows the gradient is hardtanh(d embedding x token table^T),
 * straight through the draw; Adam moves the rows, and each is projected onto the simplex. Nothing comes back to the host but, on demand,
 * the losses.
 * Other kinds of rows (`row-kinds.ts`) choose tokens in other ways and are moved by other gradients; the rest is the same.
 */
export class Objective {
  private constructor(
    private readonly model: StableDiffusion,
    private readonly shape: FullShape,
    private readonly key: string,
    private readonly state: ObjectiveTensors,
    readonly program: Program,
  ) {}

  /**
   * The objective of a shape; made once per model.
   * @throws ShaderCompileError, GpuError; FormatError for weights that cannot be read
   */
  static async for(model: StableDiffusion, wanted: ObjectiveShape): Promise<Objective> {
    const shape = withDefaults(wanted);
    const key = `attack ${JSON.stringify({ ...shape, rows: shape.rows.name })}`;
    const state = model.keep(key, () => new ObjectiveTensors(model, shape));
    const prepared = await shape.rows.prepare?.(model, shape.restarts * shape.tokens);
    const program = await model.program(key, (g) => recordIteration(g, model, shape, state, prepared));
    return new Objective(model, shape, key, state, program);
  }

  /** What an iteration of that shape takes, known from its graph alone. @throws ShapeError; Error for rows that need something prepared */
  static estimate(model: StableDiffusion, wanted: ObjectiveShape): Estimate {
    const { device } = model;
    return Objective.recorded(model, wanted, (g, options) => estimateProgram(g, options, device.capabilities, device.bufferSharing));
  }

  /**
   * Hands the graph of one iteration to `use`, for what only looks at it. @throws ShapeError; Error for rows that need something prepared
   */
  static recorded<T>(model: StableDiffusion, wanted: ObjectiveShape, use: (g: Graph, options: ProgramOptions) => T): T {
    const shape = withDefaults(wanted);
    const { name, prepare } = shape.rows;
    if (prepare) throw new Error(`an iteration with rows "${name}" needs what is computed from the token table: it cannot be estimated`);
    const state = new ObjectiveTensors(model, shape);
    try {
      const g = new Graph();
      return use(g, recordIteration(g, model, shape, state, undefined));
    } finally {
      state.destroy();
    }
  }

  /** With `target: "given"`: f32 [1, h, w, C], channels-last. @throws Error without */
  get target(): Tensor {
    if (!this.state.target) throw new Error(`this objective compares with the noise: ask for target "given"`);
    return this.state.target;
  }

  /**
   * Sets what the iterations look at, one view in place of all, and the state they change.
   * @throws ShapeError or Error on sizes that do not fit
   */
  start({ simplex, firstMoment, secondMoment, ...view }: ObjectiveStart): void {
    const { state, shape } = this;
    this.show(new Array<ObjectiveView>(shape.views).fill(view));
    state.simplex.write(simplex);
    state.firstMoment.write(firstMoment);
    state.secondMoment.write(secondMoment);
  }

  /** Replaces the rows that the iterations queued from now on go on from. @throws Error on another size */
  setRows(rows: Float32Array<ArrayBuffer>): void {
    this.state.simplex.write(rows);
  }

  /** Sets what the iterations queued from now on look at. @throws ShapeError or Error on sizes that do not fit */
  show(views: readonly ObjectiveView[]): void {
    const { state, shape: { length, height, width, restarts } } = this;
    const channels = this.model.parts.unet.config.inChannels;
    const rows = perRow(views, restarts);
    const joined = new Float32Array(rows.length * height * width * channels);
    rows.forEach(({ latents }, b) =>
      joined.set(
        toChannelsLast(expectShape("attack target latents", latents, [1, channels, height, width])),
        (b * joined.length) / rows.length,
      ),
    );
    state.ids.write(Uint32Array.from(rows.flatMap(({ ids }) => [...ids])));
    state.slots.write(Uint32Array.from(rows.flatMap(({ slots }, b) => slots.map((position) => b * length + position))));
    state.latents.write(joined);
  }

  /**
   * Queues one iteration: see `Program.run`.
   * @throws DeviceLostError, or GpuError with what the device reported of earlier work; AbortError, after which the state is to be set
   * again
   */
  async step({ timestep, noise, draws, hyperparameters }: ObjectiveStep, signal?: AbortSignal): Promise<void> {
    const { height, width, views, restarts } = this.shape;
    const { inChannels } = this.model.parts.unet.config;
    const timesteps = typeof timestep === "number" ? new Array<number>(views).fill(timestep) : timestep;
    const { noising, velocity } = viewCoefficients(this.model.alphasCumprod, timesteps);
    const rows = perRow(timesteps, restarts);
    const shape = [rows.length, inChannels, height, width];
    await this.program.run({
      ...(draws && { draws }),
      noise: toChannelsLast(expectShape("attack noise", { data: noise as Float32Array<ArrayBuffer>, shape }, shape)),
      noising,
      ...(usesVelocity(this.model, this.shape) && { velocity }),
      features: this.model.timestepFeatures(rows, this.model.sizesOf(height, width)),
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
    return Array.from({ length: this.shape.restarts }, (_, r) => kept.slice((r + 1) * KEPT_LOSSES - count, (r + 1) * KEPT_LOSSES));
  }

  /**
   * The tokens that the rows stand for, search by search, after all that is queued: of a simplex row the likeliest, else the nearest.
   * @throws Error for continuous rows
   */
  async tokens(): Promise<number[]> {
    return (await this.readTokens(1)).map(([token]) => token!.id);
  }

  /**
   * What each slot may come to hold, search by search, after all that is queued. May be called while more is queued.
   * @throws Error for continuous rows
   */
  slots(): Promise<SlotToken[][]> {
    return this.readTokens(TOLD_TOKENS);
  }

  private readTokens(count: number): Promise<SlotToken[][]> {
    return this.shape.rows.read(this.model, this.state.simplex, count, { key: this.key, vocabulary: this.shape.vocabulary });
  }

  /** The rows and moments after all that is queued. */
  async readState(): Promise<SearchState> {
    const { simplex, firstMoment, secondMoment } = this.state;
    const [a, b, c] = await Promise.all([simplex, firstMoment, secondMoment].map((t) => t.read() as Promise<Float32Array<ArrayBuffer>>));
    return { simplex: a!, firstMoment: b!, secondMoment: c! };
  }
}
