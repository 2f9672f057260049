import {
  type GradientContext,
  type Kernel,
  type Plan,
  type Recorder,
  ShapeError,
  type TensorType,
  type Value,
  elementCount,
  f32,
  formatType,
  need,
  sameShape,
} from "./kernel.ts";
import { planSum } from "./reduce.ts";
import { planElements } from "./rows.ts";
import lossGradientWgsl from "../shaders/loss-gradient.wgsl";

type LossMeasure = "squared" | "absolute";

function needPair(op: string, inputs: readonly (TensorType | undefined)[], first: number): TensorType {
  const prediction = need(op, inputs, first, "prediction");
  const target = need(op, inputs, first + 1, "target");
  if (!sameShape(prediction.shape, target.shape)) {
    throw new ShapeError(op, `prediction ${formatType(prediction)} and target ${formatType(target)} must have one shape`);
  }
  return prediction;
}

type LossKernel = Kernel<Record<string, never>>;

function inferLoss(op: string, inputs: readonly (TensorType | undefined)[]): TensorType[] {
  needPair(op, inputs, 0);
  return [f32([1])];
}

function planLoss({ inputs, capabilities }: Parameters<NonNullable<LossKernel["plan"]>>[0], measure: LossMeasure): Plan {
  const elements = elementCount(inputs[0]!.shape);
  return planSum(elements, 1 / elements, measure, capabilities);
}

const lossCost: NonNullable<LossKernel["cost"]> = ([prediction]) => ({ flops: elementCount(prediction!.shape) * 3 });

function lossGradient(
  dLoss: Value | undefined,
  { g, inputs, wanted }: GradientContext<Record<string, never>>,
  measure: LossMeasure,
): (Value | undefined)[] {
  const [prediction, target] = [inputs[0]!, inputs[1]!];
  const side = (sign: 1 | -1) => dLoss && g.apply(lossGradientKernel, [dLoss, prediction, target], { measure, sign })[0]!;
  return [wanted[0] ? side(1) : undefined, wanted[1] ? side(-1) : undefined];
}

// Written out, since what a call makes stays in every bundle of the library, used or not.
export const mseLossKernel: LossKernel = {
  name: "mse-loss",
  infer: (inputs) => inferLoss("mse-loss", inputs),
  plan: (context) => planLoss(context, "squared"),
  cost: lossCost,
  gradient: ([dLoss], context) => lossGradient(dLoss, context, "squared"),
};

export const l1LossKernel: LossKernel = {
  name: "l1-loss",
  infer: (inputs) => inferLoss("l1-loss", inputs),
  plan: (context) => planLoss(context, "absolute"),
  cost: lossCost,
  gradient: ([dLoss], context) => lossGradient(dLoss, context, "absolute"),
};

/** Inputs dLoss [1], prediction, target; `sign` 1 for the prediction's gradient, -1 for the target's. */
export const lossGradientKernel: Kernel<{ measure: LossMeasure; sign: number }> = {
  name: "loss-gradient",
  infer(inputs) {
    const dLoss = need("loss-gradient", inputs, 0, "dLoss");
    if (elementCount(dLoss.shape) !== 1) throw new ShapeError("loss-gradient", `dLoss must be a single number, got ${formatType(dLoss)}`);
    return [needPair("loss-gradient", inputs, 1)];
  },
  plan({ outputs, attributes }) {
    const elements = elementCount(outputs[0]!.shape);
    const squared = attributes.measure === "squared";
    const count = Math.ceil(elements / 4);
    return {
      dispatches: [
        {
          shader: { name: "loss-gradient", text: lossGradientWgsl },
          defines: { SQUARED: squared },
          bindings: { dLoss: { input: 0 }, x: { input: 1 }, reference: { input: 2 }, dx: { output: 0 } },
          params: { count, factor: (attributes.sign * (squared ? 2 : 1)) / elements },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: ([, prediction]) => ({ flops: elementCount(prediction!.shape) * 3 }),
};

/** Mean of (prediction - target)^2 over all elements; f32, one shape -> [1]. @throws ShapeError if the shapes differ. */
export function mseLoss(g: Recorder, prediction: Value, target: Value): Value {
  return g.apply(mseLossKernel, [prediction, target], {})[0]!;
}

/**
 * Mean of |prediction - target| over all elements, derivative 0 where they are equal; f32, one shape -> [1].
 * @throws ShapeError if the shapes differ.
 */
export function l1Loss(g: Recorder, prediction: Value, target: Value): Value {
  return g.apply(l1LossKernel, [prediction, target], {})[0]!;
}
