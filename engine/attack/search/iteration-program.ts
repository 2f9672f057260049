import { ADAM_HYPERPARAMETERS, adam } from "../../../kernels/adam.ts";
import { concat } from "../../../kernels/concat.ts";
import { scale } from "../../../kernels/elementwise.ts";
import { type Value, elementCount, f32 } from "../../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../../kernels/loss.ts";
import { reshape } from "../../../kernels/reshape.ts";
import type { Projection } from "../../../kernels/simplex-projection.ts";
import { slice } from "../../../kernels/slice.ts";
import { gatherRows } from "../../../kernels/gather-rows.ts";
import type { LossKind, StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { gradients } from "../../runtime/autodiff.ts";
import type { Graph } from "../../runtime/graph.ts";
import type { ProgramOptions } from "../../runtime/program.ts";
import { Tensor } from "../../runtime/tensor.ts";
import { type Recording, type RowKind, SIMPLEX } from "./row-kinds.ts";
import { combineViews, sumOverViews } from "./timestep-views.ts";
import { TokenMask, type Vocabulary } from "./vocabulary.ts";

export interface ObjectiveShape {
  /** Adversarial tokens. */
  readonly tokens: number;
  /** Tokens of the framed prompt. */
  readonly length: number;
  /** Latent height and width. */
  readonly height: number;
  readonly width: number;
  readonly loss: LossKind;
  /** What is searched for each slot. Default SIMPLEX. */
  readonly rows?: RowKind;
  /** Onto the simplex; other rows are not projected. */
  readonly projection: Projection;
  /** Which tokens may be chosen. Default "all". */
  readonly vocabulary?: Vocabulary;
  /**
   * What the prediction is compared with: "noise" (default), for a v-prediction model the velocity; or "given", what another program puts
   * into the `target` tensor before each step, such as the original model's prediction (P4D, arXiv 2309.06135).
   */
  readonly target?: "noise" | "given";
  /** Searches side by side, each with rows and moments of its own: `tokens` rows each, search by search. Default 1. */
  readonly restarts?: number;
  /** Prompts, pictures and timesteps that each search sees in one iteration; its loss is their mean. Default 1. */
  readonly views?: number;
}

/** The shape with its defaults filled in. */
export type FullShape = Required<ObjectiveShape>;

/** A shape with what it leaves out: rows on the simplex, all tokens, one search, one view, the noise as target. */
export function withDefaults(shape: ObjectiveShape): FullShape {
  return { rows: SIMPLEX, vocabulary: "all", target: "noise", restarts: 1, views: 1, ...shape };
}

/** Losses that stay on the device until they are read. */
export const KEPT_LOSSES = 64;

/** What iterations read and change on the device; rows of the batch lie view by view, in a view search by search. */
export class ObjectiveTensors {
  readonly ids: Tensor;
  readonly slots: Tensor;
  readonly latents: Tensor;
  /** The rows, [restarts * tokens, width], and Adam's moments. */
  readonly simplex: Tensor;
  readonly firstMoment: Tensor;
  readonly secondMoment: Tensor;
  /** [restarts, KEPT_LOSSES], the last iteration's last. */
  readonly losses: Tensor;
  /** Of target "given". */
  readonly target: Tensor | undefined;

  constructor({ device, parts, text }: StableDiffusion, { tokens, length, height, width, target, rows: kind, restarts, views }: FullShape) {
    const rows = f32([restarts * tokens, kind.width(text)]);
    const batch = restarts * views;
    const { inChannels, outChannels } = parts.unet.config;
    this.ids = new Tensor(device, "attack.ids", { shape: [batch, length], dtype: "u32" });
    this.slots = new Tensor(device, "attack.slots", { shape: [batch * tokens], dtype: "u32" });
    this.latents = new Tensor(device, "attack.latents", f32([batch, height, width, inChannels]));
    this.simplex = new Tensor(device, "attack.simplex", rows);
    this.firstMoment = new Tensor(device, "attack.firstMoment", rows);
    this.secondMoment = new Tensor(device, "attack.secondMoment", rows);
    this.losses = new Tensor(device, "attack.losses", f32([restarts, KEPT_LOSSES]));
    this.target = target === "given" ? new Tensor(device, "attack.target", f32([batch, height, width, outChannels])) : undefined;
  }

  destroy(): void {
    const { ids, slots, latents, simplex, firstMoment, secondMoment, losses, target } = this;
    for (const tensor of [ids, slots, latents, simplex, firstMoment, secondMoment, losses, target]) tensor?.destroy();
  }
}

/** Whether a step takes the coefficients of the velocity. */
export function usesVelocity(model: StableDiffusion, { target }: FullShape): boolean {
  return target === "noise" && model.predictionType === "v_prediction";
}

/**
 * Records one iteration. Its outputs are few and small, so that whoever follows a search can read them of the very program that is searched
 * with:
 * `loss` f32 [1], `choice` u32 [restarts * tokens] of rows that stand for tokens, `embeddingGradient` f32 [batch, length, hidden],
 * `gradient` and `moved` f32 like the rows: their gradient, and the rows after Adam's step, before they are projected.
 * @param prepared of the row kind's `prepare`
 */
export function recordIteration(
  g: Graph,
  model: StableDiffusion,
  shape: FullShape,
  state: ObjectiveTensors,
  prepared: Tensor | undefined,
): ProgramOptions {
  const { rows: kind, restarts, views, length, projection, vocabulary } = shape;
  const mask = TokenMask.for(model, restarts * shape.tokens, vocabulary);
  const recording: Recording = {
    g, model, views,
    rows: g.tensor(state.simplex),
    ids: g.tensor(state.ids),
    slots: g.tensor(state.slots),
    ...(prepared && { prepared: g.tensor(prepared) }),
    ...(mask && { mask: mask.recorded(g) }),
  };
  const { embeddings, ids, choice } = kind.choose(recording);
  const clean = g.tensor(state.latents);
  const noise = g.input("noise", clean.type);
  const noised = combineViews(g, "noising", views, clean, noise);
  const features = g.input("features", f32([restarts * views, model.featureWidth]));
  const prediction = model.recordUNet(g, noised, features, model.recordTextEncoder(g, embeddings, ids));
  const target = targetOf(g, model, shape, state, clean, noise);
  const measure = shape.loss === "mse" ? mseLoss : l1Loss;
  const loss = measure(g, prediction, target);

  const embeddingGradient = gradients(g, loss, [embeddings])[0]!;
  const ofSlots = gatherRows(g, reshape(g, embeddingGradient, [1, restarts * views * length, model.text.tokenWidth]), recording.slots);
  const ofViews = sumOverViews(g, ofSlots, views);
  // The loss is the mean of all searches', and each follows its own.
  const gradient = kind.gradient(recording, restarts === 1 ? ofViews : scale(g, ofViews, restarts));
  const before = { parameter: recording.rows, m: g.tensor(state.firstMoment), v: g.tensor(state.secondMoment) };
  const moved = adam(g, before, gradient, g.input("hyperparameters", f32([ADAM_HYPERPARAMETERS])));
  const own = reshape(g, lossOfEach(g, shape, measure, prediction, target, loss), [restarts, 1]);
  const losses = concat(g, slice(g, g.tensor(state.losses), 1, KEPT_LOSSES - 1), own);
  return {
    outputs: { loss, ...(choice && { choice }), embeddingGradient, gradient, moved: moved.parameter },
    assigns: [
      [state.simplex, kind.project(recording, moved.parameter, projection)],
      [state.firstMoment, moved.m],
      [state.secondMoment, moved.v],
      [state.losses, losses],
    ],
  };
}

/** What the prediction is compared with, f32 [batch, h, w, C]. */
function targetOf(g: Graph, model: StableDiffusion, shape: FullShape, { target }: ObjectiveTensors, clean: Value, noise: Value): Value {
  if (target) return g.tensor(target);
  return usesVelocity(model, shape) ? combineViews(g, "velocity", shape.views, clean, noise) : noise;
}

/** The mean loss over the views of each search, [restarts]. */
function lossOfEach(
  g: Graph,
  { restarts, views }: FullShape,
  measure: typeof mseLoss,
  prediction: Value,
  target: Value,
  ofAll: Value,
): Value {
  if (restarts === 1) return ofAll;
  const size = elementCount(prediction.type.shape) / (restarts * views);
  const of = (x: Value, r: number): Value => slice(g, reshape(g, x, [views, restarts * size]), r * size, size);
  const losses = Array.from({ length: restarts }, (_, r) => measure(g, of(prediction, r), of(target, r)));
  return losses.reduce((joined, one) => concat(g, joined, one));
}
