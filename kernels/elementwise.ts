import {
  type Kernel, type Recorder, ShapeError, type TensorType, type Value, elementCount, formatType, need, sameShape,
} from "./kernel.ts";
import { planElements } from "./rows.ts";
import addWgsl from "../shaders/add.wgsl";
import multiplyWgsl from "../shaders/multiply.wgsl";
import scaleWgsl from "../shaders/scale.wgsl";

function inferPair(op: string, inputs: readonly (TensorType | undefined)[]): TensorType[] {
  const a = need(op, inputs, 0, "a", undefined, ["f32"], true);
  const b = need(op, inputs, 1, "b", undefined, ["f32"], true);
  if (!sameShape(a.shape, b.shape)) {
    throw new ShapeError(op, `a ${formatType(a)} and b ${formatType(b)} must have one shape (broadcastAdd repeats a smaller one)`);
  }
  return [a];
}

export const addKernel: Kernel<Record<string, never>> = {
  name: "add",
  alike: true,
  inPlace: [0],
  infer: (inputs) => inferPair("add", inputs),
  plan({ outputs, overwrites = false }) {
    const count = Math.ceil(elementCount(outputs[0]!.shape) / 4);
    return {
      dispatches: [
        {
          shader: { name: "add", text: addWgsl },
          defines: { IN_PLACE: overwrites },
          bindings: { ...(!overwrites && { a: { input: 0 } }), b: { input: 1 }, y: { output: 0 } },
          params: { count },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: ([a]) => ({ flops: elementCount(a!.shape) }),
  gradient: ([dy]) => [dy, dy],
};

export const multiplyKernel: Kernel<Record<string, never>> = {
  name: "multiply",
  alike: true,
  infer: (inputs) => inferPair("multiply", inputs),
  plan({ outputs }) {
    const count = Math.ceil(elementCount(outputs[0]!.shape) / 4);
    return {
      dispatches: [
        {
          shader: { name: "multiply", text: multiplyWgsl },
          defines: {},
          bindings: { a: { input: 0 }, b: { input: 1 }, y: { output: 0 } },
          params: { count },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: ([a]) => ({ flops: elementCount(a!.shape) }),
  gradient([dy], { g, inputs, wanted }) {
    return [dy && wanted[0] ? multiply(g, dy, inputs[1]!) : undefined, dy && wanted[1] ? multiply(g, dy, inputs[0]!) : undefined];
  },
};

export const scaleKernel: Kernel<{ factor: number }> = {
  name: "scale",
  alike: true,
  infer(inputs, { factor }) {
    if (!Number.isFinite(factor)) throw new ShapeError("scale", `factor must be a finite number, got ${factor}`);
    return [need("scale", inputs, 0, "x", undefined, ["f32"], true)];
  },
  plan({ outputs, attributes }) {
    const count = Math.ceil(elementCount(outputs[0]!.shape) / 4);
    return {
      dispatches: [
        {
          shader: { name: "scale", text: scaleWgsl },
          defines: {},
          bindings: { x: { input: 0 }, y: { output: 0 } },
          params: { count, factor: attributes.factor },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: ([x]) => ({ flops: elementCount(x!.shape) }),
  gradient: ([dy], { g, attributes }) => [dy && scale(g, dy, attributes.factor)],
};

/** a + b; f32, one shape. @throws ShapeError if the shapes differ. */
export function add(g: Recorder, a: Value, b: Value): Value {
  return g.apply(addKernel, [a, b], {})[0]!;
}

/** a * b, element by element; f32, one shape. @throws ShapeError if the shapes differ. */
export function multiply(g: Recorder, a: Value, b: Value): Value {
  return g.apply(multiplyKernel, [a, b], {})[0]!;
}

/** x * factor, a constant of the graph; f32, any shape. @throws ShapeError if the factor is not finite. */
export function scale(g: Recorder, x: Value, factor: number): Value {
  return g.apply(scaleKernel, [x], { factor })[0]!;
}
