import { type Binding, type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, need, sameShape } from "./kernel.ts";
import { planElements } from "./rows.ts";
import linearCombinationWgsl from "../shaders/linear-combination.wgsl";
import linearCombinationGradientWgsl from "../shaders/linear-combination-gradient.wgsl";

/** Eight storage buffers is what every device offers: the coefficients, six terms and the result. */
const MAX_TERMS = 6;

/** Bounds of the result; both or neither. Plain -Infinity is not JSON, so an open side is a very large number. */
type Bounds = { readonly low?: number; readonly high?: number };

/** Input 0: coefficients [n]; inputs 1 to n: the terms, one shape. */
export const linearCombinationKernel: Kernel<Bounds> = {
  name: "linear-combination",
  infer(inputs, { low, high }) {
    const op = "linear-combination";
    const coefficients = need(op, inputs, 0, "coefficients", 1);
    const terms = inputs.length - 1;
    if (terms < 1 || terms > MAX_TERMS) throw new ShapeError(op, `takes 1 to ${MAX_TERMS} terms, got ${terms}`);
    if (coefficients.shape[0] !== terms) {
      throw new ShapeError(op, `${terms} terms need coefficients of shape [${terms}], got ${formatType(coefficients)}`);
    }
    const first = need(op, inputs, 1, "x0");
    for (let i = 1; i < terms; i++) {
      const x = need(op, inputs, i + 1, `x${i}`);
      if (!sameShape(x.shape, first.shape)) {
        throw new ShapeError(op, `terms must have one shape: x0 is ${formatType(first)}, x${i} is ${formatType(x)}`);
      }
    }
    if ((low === undefined) !== (high === undefined) || (low !== undefined && !(low < high!))) {
      throw new ShapeError(op, `clamp bounds must be low < high, got ${low} and ${high}`);
    }
    return [first];
  },
  plan({ inputs, outputs, attributes }) {
    const terms = inputs.length - 1;
    const count = Math.ceil(elementCount(outputs[0]!.shape) / 4);
    const bindings: Record<string, Binding> = { coefficients: { input: 0 }, y: { output: 0 } };
    for (let i = 0; i < terms; i++) bindings[`x${i}`] = { input: i + 1 };
    return {
      dispatches: [
        {
          shader: { name: "linear-combination", text: linearCombinationWgsl },
          defines: { X1: terms > 1, X2: terms > 2, X3: terms > 3, X4: terms > 4, X5: terms > 5, CLAMP: attributes.low !== undefined },
          bindings,
          params: { count, low: attributes.low ?? 0, high: attributes.high ?? 0 },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: (inputs, [y]) => ({ flops: elementCount(y!.shape) * 2 * (inputs.length - 1) }),
  gradient([dy], { g, inputs, outputs, attributes, wanted }) {
    if (wanted[0]) throw new ShapeError("linear-combination", "has no gradient rule for its input coefficients");
    const y = attributes.low === undefined ? undefined : outputs[0];
    return inputs.map((_, i) =>
      dy && i > 0 && wanted[i]
        ? g.apply(linearCombinationGradientKernel, [dy, inputs[0]!, y], { ...attributes, index: i - 1 })[0]!
        : undefined,
    );
  },
};

/** Inputs: dy, coefficients [n] and, where the result was clamped, the result. Gives the cotangent of term `index`. */
export const linearCombinationGradientKernel: Kernel<Bounds & { readonly index: number }> = {
  name: "linear-combination-gradient",
  infer(inputs) {
    need("linear-combination-gradient", inputs, 1, "coefficients", 1);
    return [need("linear-combination-gradient", inputs, 0, "dy")];
  },
  plan({ inputs, outputs, attributes }) {
    const count = Math.ceil(elementCount(outputs[0]!.shape) / 4);
    const clamped = inputs[2] !== undefined;
    return {
      dispatches: [
        {
          shader: { name: "linear-combination-gradient", text: linearCombinationGradientWgsl },
          defines: { CLAMP: clamped },
          bindings: { dy: { input: 0 }, coefficients: { input: 1 }, ...(clamped && { y: { input: 2 } }), dx: { output: 0 } },
          params: { count, index: attributes.index, low: attributes.low ?? 0, high: attributes.high ?? 0 },
          workgroups: planElements(count),
        },
      ],
    };
  },
  cost: ([dy]) => ({ flops: elementCount(dy!.shape) }),
};

/**
 * coefficients[0] * terms[0] + coefficients[1] * terms[1] + ..., then clamped to `clamp` if given; f32, terms of one shape.
 * The coefficients are a tensor [n], n from 1 to 6, so that a sampler's step changes numbers and not the graph.
 * A clamped element passes no gradient. @throws ShapeError for other counts, shapes or bounds.
 */
export function linearCombination(
  g: Recorder,
  coefficients: Value,
  terms: readonly Value[],
  options: { readonly clamp?: readonly [number, number] } = {},
): Value {
  const { clamp } = options;
  return g.apply(linearCombinationKernel, [coefficients, ...terms], clamp ? { low: clamp[0], high: clamp[1] } : {})[0]!;
}
