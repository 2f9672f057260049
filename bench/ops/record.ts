import { attention } from "../../kernels/attention.ts";
import { conv2d } from "../../kernels/conv2d.ts";
import { geglu } from "../../kernels/geglu.ts";
import { groupNorm } from "../../kernels/group-norm.ts";
import { type Recorder, type Shape, type Value, elementCount } from "../../kernels/kernel.ts";
import { layerNorm } from "../../kernels/layer-norm.ts";
import { matmul } from "../../kernels/matmul.ts";
import { softmax } from "../../kernels/softmax.ts";
import type { OpShape } from "./cases.ts";

export const NORM_EPSILON = 1e-5;

export interface OpInput {
  readonly shape: Shape;
  /** Standard deviation of its numbers, such that results stay near 1. */
  readonly scale: number;
  /** A weight: may be stored as f16, and the attack asks for no gradient of it. */
  readonly weight: boolean;
}

/** What an op takes, by name, in the engine's layouts. */
export function opInputs(s: OpShape): Readonly<Record<string, OpInput>> {
  const activation = (...shape: number[]): OpInput => ({ shape, scale: 1, weight: false });
  const weight = (scale: number, ...shape: number[]): OpInput => ({ shape, scale, weight: true });
  switch (s.op) {
    case "linear":
      return { x: activation(s.rows, s.in), weight: weight(1 / Math.sqrt(s.in), s.in, s.out), bias: weight(0.1, s.out) };
    case "conv2d":
      return {
        x: activation(1, s.size, s.size, s.in),
        weight: weight(1 / (s.kernel * Math.sqrt(s.in)), s.kernel, s.kernel, s.in, s.out),
        bias: weight(0.1, s.out),
      };
    case "attention": {
      const width = s.heads * s.head;
      return { q: activation(1, s.queries, width), k: activation(1, s.keys, width), v: activation(1, s.keys, width) };
    }
    case "group-norm":
      return { x: activation(1, s.size, s.size, s.channels), gamma: weight(1, s.channels), beta: weight(0.1, s.channels) };
    case "layer-norm":
      return { x: activation(s.rows, s.width), gamma: weight(1, s.width), beta: weight(0.1, s.width) };
    case "geglu":
      return { x: activation(s.rows, 2 * s.width) };
    case "softmax":
      return { x: activation(s.rows, s.width) };
  }
}

/** Inputs whose gradient is measured: activations only, as in the attack. */
export function wantedGradients(s: OpShape): readonly string[] {
  return Object.entries(opInputs(s)).flatMap(([name, input]) => (input.weight ? [] : [name]));
}

/** Records the op on values of `opInputs`. @throws ShapeError if they do not fit */
export function recordOp(g: Recorder, s: OpShape, v: Readonly<Record<string, Value>>): Value {
  switch (s.op) {
    case "linear":
      return matmul(g, v["x"]!, v["weight"]!, { bias: v["bias"]! });
    case "conv2d":
      return conv2d(g, v["x"]!, v["weight"]!, { bias: v["bias"]!, stride: s.stride, padding: s.kernel >> 1 });
    case "attention":
      return attention(g, v["q"]!, v["k"]!, v["v"]!, { heads: s.heads });
    case "group-norm":
      return groupNorm(g, v["x"]!, v["gamma"]!, v["beta"]!, { groups: s.groups, epsilon: NORM_EPSILON, silu: true });
    case "layer-norm":
      return layerNorm(g, v["x"]!, v["gamma"]!, v["beta"]!, { epsilon: NORM_EPSILON });
    case "geglu":
      return geglu(g, v["x"]!);
    case "softmax":
      return softmax(g, v["x"]!);
  }
}

/** Shape of the result, channels-last. */
export function outputShape(s: OpShape): Shape {
  switch (s.op) {
    case "linear":
      return [s.rows, s.out];
    case "conv2d":
      return [1, s.size / s.stride, s.size / s.stride, s.out];
    case "attention":
      return [1, s.queries, s.heads * s.head];
    case "group-norm":
      return [1, s.size, s.size, s.channels];
    default:
      return [s.rows, s.width];
  }
}

/** The numbers that all engines are given: the inputs, and the cotangent of the result. */
export interface OpData {
  readonly inputs: Readonly<Record<string, Float32Array<ArrayBuffer>>>;
  readonly cotangent: Float32Array<ArrayBuffer>;
}

/** Fresh numbers, uniform with the wanted standard deviation: no engine's speed depends on them. */
export function opData(s: OpShape): OpData {
  const numbers = (count: number, scale: number): Float32Array<ArrayBuffer> => {
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) out[i] = (2 * Math.random() - 1) * Math.sqrt(3) * scale;
    return out;
  };
  return {
    inputs: Object.fromEntries(Object.entries(opInputs(s)).map(([name, { shape, scale }]) => [name, numbers(elementCount(shape), scale)])),
    cotangent: numbers(elementCount(outputShape(s)), 1),
  };
}
