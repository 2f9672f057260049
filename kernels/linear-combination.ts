import {
  type Kernel, type Recorder, ShapeError, type Value, elementCount, formatType, sameShape,
} from "./kernel.ts";
import { vectorwise } from "./pointwise.ts";
import linearCombinationWgsl from "../shaders/linear-combination.wgsl";
import linearCombinationGradientWgsl from "../shaders/linear-combination-gradient.wgsl";

/** Eight storage buffers is what every device offers: the coefficients, six terms and the result. */
const MAX_TERMS = 6;

/** Bounds of the result; both or neither. Plain -Infinity is not JSON, so an open side is a very large number. */
type Bounds = { readonly low?: number; readonly high?: number };

type Term = `x${number}`;

/** coefficients [n]; n terms of one shape. */
export const linearCombinationKernel: Kernel<Bounds, "coefficients" | Term> = {
  name: "linear-combination",
  inputs: { coefficients: { rank: 1 } },
  rest: { x: {} },
  infer({ coefficients, ...others }, { low, high }) {
    const terms = Object.values(others);
    const [first] = terms;
    if (!first || terms.length > MAX_TERMS) throw new ShapeError(`takes 1 to ${MAX_TERMS} terms, got ${terms.length}`);
    if (coefficients.shape[0] !== terms.length) {
      throw new ShapeError(`${terms.length} terms need coefficients of shape [${terms.length}], got ${formatType(coefficients)}`);
    }
    terms.forEach((x, i) => {
      if (!sameShape(x.shape, first.shape)) {
        throw new ShapeError(`terms must have one shape: x0 is ${formatType(first)}, x${i} is ${formatType(x)}`);
      }
    });
    if ((low === undefined) !== (high === undefined) || (low !== undefined && !(low < high!))) {
      throw new ShapeError(`clamp bounds must be low < high, got ${low} and ${high}`);
    }
    return { y: first };
  },
  plan({ inputs: { coefficients }, outputs: { y }, attributes: { low, high } }) {
    const terms = coefficients.shape[0]!;
    const absent = Array.from({ length: MAX_TERMS - terms }, (_, i) => [`x${terms + i}`, "nothing"] as const);
    const options = { defines: { TERMS: terms, CLAMP: low !== undefined }, bindings: Object.fromEntries(absent) };
    const params = { low: low ?? 0, high: high ?? 0 };
    return { dispatches: [vectorwise({ name: "linear-combination", text: linearCombinationWgsl }, y, params, options)] };
  },
  cost: ({ coefficients }, { y }) => ({ flops: elementCount(y.shape) * 2 * coefficients.shape[0]! }),
  gradient({ y: dy }, { g, inputs: { coefficients, ...others }, outputs, attributes, wanted }) {
    if (wanted.coefficients) throw new ShapeError("has no gradient rule for its input coefficients");
    const y = attributes.low === undefined ? undefined : outputs.y;
    const term = (name: Term, index: number): Value | undefined =>
      dy && wanted[name] ? g.apply(linearCombinationGradientKernel, { dy, coefficients, y }, { ...attributes, index }).dx : undefined;
    return Object.fromEntries(Object.keys(others).map((name, i) => [name, term(name as Term, i)]));
  },
};

/** The cotangent of term `index`; y is the result, where it was clamped. */
export const linearCombinationGradientKernel: Kernel<Bounds & { readonly index: number }, "dy" | "coefficients", "dx", "y"> = {
  name: "linear-combination-gradient",
  inputs: { dy: {}, coefficients: { rank: 1 }, y: { optional: true } },
  outputs: ["dx"],
  infer: ({ dy }) => ({ dx: dy }),
  plan({ inputs: { y }, outputs: { dx }, attributes: { index, low, high } }) {
    const params = { index, low: low ?? 0, high: high ?? 0 };
    const shader = { name: "linear-combination-gradient", text: linearCombinationGradientWgsl };
    return { dispatches: [vectorwise(shader, dx, params, { defines: { CLAMP: y !== undefined } })] };
  },
  cost: ({ dy }) => ({ flops: elementCount(dy.shape) }),
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
  const named = Object.fromEntries(terms.map((x, i) => [`x${i}` as const, x]));
  return g.apply(linearCombinationKernel, { coefficients, ...named }, clamp ? { low: clamp[0], high: clamp[1] } : {}).y;
}
