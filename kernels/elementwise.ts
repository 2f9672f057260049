import {
  type ByName, type Kernel, type NoAttributes, type Recorder, ShapeError, type TensorType, type Value, elementCount, formatType, sameShape,
} from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";
import addWgsl from "../shaders/add.wgsl";
import multiplyWgsl from "../shaders/multiply.wgsl";
import scaleWgsl from "../shaders/scale.wgsl";

function inferPair({ a, b }: ByName<"a" | "b", never, TensorType>): { y: TensorType } {
  if (!sameShape(a.shape, b.shape)) {
    throw new ShapeError(`a ${formatType(a)} and b ${formatType(b)} must have one shape (broadcastAdd repeats a smaller one)`);
  }
  return { y: a };
}

export const addKernel: Kernel<NoAttributes, "a" | "b"> = {
  name: "add",
  inputs: { a: {}, b: {} },
  layout: "any",
  inPlace: { y: "a" },
  infer: inferPair,
  plan: ({ outputs: { y }, overwrites }) => ({
    dispatches: [vectorwise({ name: "add", text: addWgsl }, y, {}, { defines: { IN_PLACE: overwrites } })],
  }),
  cost: ({ a }) => ({ flops: elementCount(a.shape) }),
  gradient: ({ y: dy }) => ({ a: dy, b: dy }),
};

export const multiplyKernel: Kernel<NoAttributes, "a" | "b"> = {
  name: "multiply",
  inputs: { a: {}, b: {} },
  layout: "any",
  infer: inferPair,
  plan: ({ outputs: { y } }) => ({ dispatches: [vectorwise({ name: "multiply", text: multiplyWgsl }, y)] }),
  cost: ({ a }) => ({ flops: elementCount(a.shape) }),
  gradient({ y: dy }, { g, inputs: { a, b }, wanted }) {
    return { a: dy && wanted.a ? multiply(g, dy, b) : undefined, b: dy && wanted.b ? multiply(g, dy, a) : undefined };
  },
};

export const scaleKernel: Kernel<{ factor: number }, "x"> = {
  name: "scale",
  inputs: { x: {} },
  layout: "any",
  infer({ x }, { factor }) {
    if (!Number.isFinite(factor)) throw new ShapeError(`factor must be a finite number, got ${factor}`);
    return { y: x };
  },
  plan: ({ outputs: { y }, attributes: { factor } }) => ({
    dispatches: [vectorwise({ name: "scale", text: scaleWgsl }, y, { factor })],
  }),
  cost: ({ x }) => ({ flops: elementCount(x.shape) }),
  gradient: ({ y: dy }, { g, attributes }) => ({ x: dy && scale(g, dy, attributes.factor) }),
};

/** a + b; f32, one shape. @throws ShapeError if the shapes differ. */
export function add(g: Recorder, a: Value, b: Value): Value {
  return g.apply(addKernel, { a, b }, {}).y;
}

/** a * b, element by element; f32, one shape. @throws ShapeError if the shapes differ. */
export function multiply(g: Recorder, a: Value, b: Value): Value {
  return g.apply(multiplyKernel, { a, b }, {}).y;
}

/** x * factor, a constant of the graph; f32, any shape. @throws ShapeError if the factor is not finite. */
export function scale(g: Recorder, x: Value, factor: number): Value {
  return g.apply(scaleKernel, { x }, { factor }).y;
}
