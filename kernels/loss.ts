import {
  type ByName, type GradientContext, type Kernel, type NoAttributes, type Plan, type PlanContext, type Recorder, ShapeError,
  type TensorType, type Value, elementCount, f32, formatType, sameShape,
} from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";
import { planSum } from "./reduce.ts";
import lossGradientWgsl from "../shaders/loss-gradient.wgsl";

type LossMeasure = "squared" | "absolute";
type Pair = "prediction" | "target";

/** The shaders' names for the pair. */
const BINDINGS = { x: { input: "prediction" }, reference: { input: "target" } } as const;

function needPair({ prediction, target }: ByName<Pair, never, TensorType>): void {
  if (!sameShape(prediction.shape, target.shape)) {
    throw new ShapeError(`prediction ${formatType(prediction)} and target ${formatType(target)} must have one shape`);
  }
}

function inferLoss(inputs: ByName<Pair, never, TensorType>): { y: TensorType } {
  needPair(inputs);
  return { y: f32([1]) };
}

function planLoss({ inputs, capabilities }: PlanContext<NoAttributes, Pair, "y", never>, measure: LossMeasure): Plan {
  const elements = elementCount(inputs.prediction.shape);
  return planSum(elements, 1 / elements, measure, capabilities, { bindings: BINDINGS });
}

const lossCost = ({ prediction }: ByName<Pair, never, TensorType>): { flops: number } => ({ flops: elementCount(prediction.shape) * 3 });

function lossGradient(
  dLoss: Value | undefined,
  { g, inputs, wanted }: GradientContext<NoAttributes, Pair, "y", never>,
  measure: LossMeasure,
): { [K in Pair]: Value | undefined } {
  const side = (sign: 1 | -1) => dLoss && g.apply(lossGradientKernel, { dLoss, ...inputs }, { measure, sign }).dx;
  return { prediction: wanted.prediction ? side(1) : undefined, target: wanted.target ? side(-1) : undefined };
}

// Written out, since what a call makes stays in every bundle of the library, used or not.
export const mseLossKernel: Kernel<NoAttributes, Pair> = {
  name: "mse-loss",
  inputs: { prediction: {}, target: {} },
  infer: inferLoss,
  plan: (context) => planLoss(context, "squared"),
  cost: lossCost,
  gradient: ({ y: dLoss }, context) => lossGradient(dLoss, context, "squared"),
};

export const l1LossKernel: Kernel<NoAttributes, Pair> = {
  name: "l1-loss",
  inputs: { prediction: {}, target: {} },
  infer: inferLoss,
  plan: (context) => planLoss(context, "absolute"),
  cost: lossCost,
  gradient: ({ y: dLoss }, context) => lossGradient(dLoss, context, "absolute"),
};

/** `sign` 1 for the prediction's gradient, -1 for the target's. */
export const lossGradientKernel: Kernel<{ measure: LossMeasure; sign: number }, "dLoss" | Pair, "dx"> = {
  name: "loss-gradient",
  inputs: { dLoss: {}, prediction: {}, target: {} },
  outputs: ["dx"],
  infer({ dLoss, ...pair }) {
    if (elementCount(dLoss.shape) !== 1) throw new ShapeError(`dLoss must be a single number, got ${formatType(dLoss)}`);
    needPair(pair);
    return { dx: pair.prediction };
  },
  plan({ outputs: { dx }, attributes: { measure, sign } }) {
    const squared = measure === "squared";
    const params = { factor: (sign * (squared ? 2 : 1)) / elementCount(dx.shape) };
    const options = { defines: { SQUARED: squared }, bindings: BINDINGS };
    return { dispatches: [vectorwise({ name: "loss-gradient", text: lossGradientWgsl }, dx, params, options)] };
  },
  cost: ({ prediction }) => ({ flops: elementCount(prediction.shape) * 3 }),
};

/** Mean of (prediction - target)^2 over all elements; f32, one shape -> [1]. @throws ShapeError if the shapes differ. */
export function mseLoss(g: Recorder, prediction: Value, target: Value): Value {
  return g.apply(mseLossKernel, { prediction, target }, {}).y;
}

/**
 * Mean of |prediction - target| over all elements, derivative 0 where they are equal; f32, one shape -> [1].
 * @throws ShapeError if the shapes differ.
 */
export function l1Loss(g: Recorder, prediction: Value, target: Value): Value {
  return g.apply(l1LossKernel, { prediction, target }, {}).y;
}
