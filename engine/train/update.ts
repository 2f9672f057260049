import { ADAM_HYPERPARAMETERS, adam } from "../../kernels/adam.ts";
import { clipNorm } from "../../kernels/clip-norm.ts";
import { add, multiply } from "../../kernels/elementwise.ts";
import { type TensorType, type Value, f32 } from "../../kernels/kernel.ts";
import { lerp } from "../../kernels/lerp.ts";
import { sumOfSquares } from "../../kernels/reduce.ts";
import type { Parameters } from "../nn/parameters.ts";
import type { Assign } from "../runtime/plan/assigns.ts";
import { gradients } from "../runtime/autodiff.ts";
import type { Graph, GraphValue } from "../runtime/graph.ts";
import type { TrainingState } from "./state.ts";

/** How gradients become weights; numbers that change from step to step are inputs of the program instead. */
export interface UpdateRule {
  /** Adam's weight decay: "l2" as torch.optim.Adam, "decoupled" as torch.optim.AdamW. */
  readonly decay: "l2" | "decoupled";
  /** Gradients are made smaller together where their global norm is above this. All of them are then in memory at once. */
  readonly clipNorm?: number;
  /** Batches whose gradients are averaged for one update. Default 1. Infinity: they are only ever summed up. */
  readonly batches?: number;
  /** A running average of the weights is kept: see `AVERAGE_INPUT`. */
  readonly average?: boolean;
  /** Gradients are multiplied by masks, which `TrainingState` is given: where a mask is 0, a weight does not move. */
  readonly masked?: boolean;
}

/** Which of an update's batches a program is for. */
export type BatchPlace = "first" | "middle" | "last" | "only";

/** Input [1] of a program with `average`: how far each average goes to the new weight, 1 - decay. */
export const AVERAGE_INPUT = "average";
/** Input of a program that updates: `adamHyperparameters`. */
export const ADAM_INPUT = "adam";

/** The loss of a batch, a scalar. */
export interface RecordedLoss {
  readonly loss: Value;
  /** Values whose gradient is rescaled where products round to halves: see `gradients`. */
  readonly rescaleAt?: readonly Value[];
  /** Numbers [1] that are kept together for `Trainer.losses`. Default: the loss alone. */
  readonly kept?: readonly Value[];
  /** What else can be read after a batch, by name. */
  readonly outputs?: Readonly<Record<string, Value>>;
}

/** A weight that is trained. */
export interface Trained {
  readonly leaf: GraphValue;
  readonly owner: Parameters;
}

export interface RecordedUpdate {
  readonly assigns: readonly Assign[];
  /** Sum of squares of all gradients [1], before scaling and clipping; there with `clipNorm`, in programs that update. */
  readonly squares?: Value;
  /** By weight, as the update gets them but for the factor in `hyperparameters`; undefined where the loss does not depend on one. */
  readonly gradients: readonly (Value | undefined)[];
  readonly trained: readonly Trained[];
  /** Adam's, with the factor of all gradients after clipping; there in programs that update. */
  readonly hyperparameters?: Value;
}

/**
 * Records the gradient of a loss for weights and what a batch does with them: adds them up, or updates the weights in place.
 * Each update is recorded where its gradient is complete, so that a few gradients are in memory at a time and not one for each weight.
 * A weight that the loss does not depend on is left alone, its decay too, as an optimiser of torch leaves one without a gradient.
 */
export function recordUpdate(
  g: Graph,
  { loss, rescaleAt = [] }: RecordedLoss,
  trained: readonly Trained[],
  state: TrainingState,
  rule: UpdateRule,
  place: BatchPlace,
): RecordedUpdate {
  const updates = place === "last" || place === "only";
  const assigns: Assign[] = [];
  let squares: Value | undefined;
  const complete: { readonly weight: Trained; readonly gradient: Value }[] = [];
  const hyperparameters = updates ? g.input(ADAM_INPUT, f32([ADAM_HYPERPARAMETERS])) : undefined;
  const used: (Value | undefined)[] = trained.map(() => undefined);
  gradients(g, loss, trained.map(({ leaf }) => leaf), undefined, rescaleAt, (gradient, i) => {
    const weight = trained[i]!;
    const whole = place === "only" ? gradient : summed(g, state, weight, gradient, place);
    if (!hyperparameters) return void assigns.push([sumLeaf(g, state, weight, gradient.type), whole]);
    const kept = rule.masked ? multiply(g, maskLeaf(g, state, weight), whole) : whole;
    used[i] = kept;
    if (rule.clipNorm === undefined) return void assigns.push(...step(g, state, rule, weight, kept, hyperparameters));
    squares = sumOfSquares(g, kept, squares);
    complete.push({ weight, gradient: kept });
  });
  if (!squares) return { assigns, trained, gradients: used, ...(hyperparameters && { hyperparameters }) };
  const clipped = clipNorm(g, squares, hyperparameters!, rule.clipNorm!);
  for (const { weight, gradient } of complete) assigns.push(...step(g, state, rule, weight, gradient, clipped));
  return { assigns, squares, trained, gradients: used, hyperparameters: clipped };
}

function maskLeaf(g: Graph, state: TrainingState, { leaf, owner }: Trained): Value {
  return state.zeros(g, "mask", leaf.name, { ...leaf.type, dtype: "f32" }, owner);
}

/** Gradients are added up as they come: row by row, also of weights in panels. */
function sumLeaf(g: Graph, state: TrainingState, { leaf, owner }: Trained, type: TensorType): Value {
  return state.zeros(g, "sum", leaf.name, type, owner);
}

function summed(g: Graph, state: TrainingState, weight: Trained, gradient: Value, place: BatchPlace): Value {
  return place === "first" ? gradient : add(g, sumLeaf(g, state, weight, gradient.type), gradient);
}

/** One weight's step; of a weight that the model reads as halves, its float32 master's, of which the halves are made. */
function step(
  g: Graph,
  state: TrainingState,
  rule: UpdateRule,
  { leaf, owner }: Trained,
  gradient: Value,
  hyperparameters: Value,
): Assign[] {
  const type: TensorType = { ...leaf.type, dtype: "f32" };
  const halved = leaf.type.dtype === "f16";
  const parameter = halved ? state.copyOf(g, "master", leaf.name, type, owner) : leaf;
  const [m, v] = [state.zeros(g, "m", leaf.name, type, owner), state.zeros(g, "v", leaf.name, type, owner)];
  const scaled = rule.clipNorm !== undefined || (rule.batches ?? 1) > 1;
  const next = adam(g, { parameter, m, v }, gradient, hyperparameters, { decoupled: rule.decay === "decoupled", scaled, halved });
  const assigns: Assign[] = [[parameter, next.parameter], [m, next.m], [v, next.v]];
  if (next.halves) assigns.push([leaf, next.halves]);
  if (rule.average) {
    const average = state.copyOf(g, "average", leaf.name, type, owner);
    assigns.push([average, lerp(g, average, next.parameter, g.input(AVERAGE_INPUT, f32([1])))]);
  }
  return assigns;
}
