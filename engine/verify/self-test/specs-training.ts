import { ADAM_HYPERPARAMETERS, adam, adamHyperparameters } from "../../../kernels/adam.ts";
import { clipNorm } from "../../../kernels/clip-norm.ts";
import { PANEL } from "../../../kernels/kernel.ts";
import { lerp } from "../../../kernels/lerp.ts";
import { sumOfSquares } from "../../../kernels/reduce.ts";
import { repack } from "../../../kernels/repack.ts";
import type { Array64 } from "./array64.ts";
import { type OpSpec, normals } from "./op-check.ts";
import { map64 } from "./reference/norm.ts";
import { adamReference } from "./reference/optimizer.ts";

const SHAPE = [3, 37] as const;
const COUNT = 3 * 37;
const STEP = 3;
const OPTIONS = { lr: 0.05, weightDecay: 0.1, gradientScale: 0.25 } as const;

const HYPER = { shape: [ADAM_HYPERPARAMETERS], data: adamHyperparameters(OPTIONS, STEP) } as const;

const squaresOf = (x: Float64Array): number => x.reduce((sum, v) => sum + v * v, 0);

/** Clipping at `bound` of gradients whose squares sum up to `squares` before the factor of `OPTIONS`. */
function clipSpec(name: string, squares: number, bound: number): OpSpec {
  const norm = OPTIONS.gradientScale * Math.sqrt(squares);
  const factor = OPTIONS.gradientScale * Math.min(1, bound / (norm + 1e-6));
  return {
    name,
    inputs: { squares: { shape: [1], data: [squares] }, hyper: HYPER },
    build: (g, v) => clipNorm(g, v["squares"]!, v["hyper"]!, bound),
    reference: ({ hyper }) => map64(hyper!, (x, i) => (i === ADAM_HYPERPARAMETERS - 1 ? factor : x)),
  };
}

/** x [taps, inputs, outputs] in panels, by the definition: [taps, outputs / PANEL, inputs, PANEL]. */
function panelled({ shape, data }: Array64): Float64Array {
  const [taps, inputs, outputs] = shape as [number, number, number];
  const result = new Float64Array(data.length);
  for (let tap = 0; tap < taps; tap++) {
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++) {
        const [panel, column] = [Math.floor(o / PANEL), o % PANEL];
        result[((tap * (outputs / PANEL) + panel) * inputs + i) * PANEL + column] = data[(tap * inputs + i) * outputs + o]!;
      }
    }
  }
  return result;
}

/** What only training computes. */
export const TRAINING_SPECS: readonly OpSpec[] = [
  {
    name: "adam, decoupled decay and scaled gradient",
    inputs: {
      p: { shape: SHAPE }, d: { shape: SHAPE }, m: { shape: SHAPE, scale: 0.1 },
      v: { shape: SHAPE, data: normals(COUNT, 0.1).map((x) => x * x) }, hyper: HYPER,
    },
    build(g, { p, d, m, v, hyper }) {
      const next = adam(g, { parameter: p!, m: m!, v: v! }, d!, hyper!, { decoupled: true, scaled: true });
      return [next.parameter, next.m, next.v];
    },
    reference({ p, d, m, v }) {
      const { lr, weightDecay, gradientScale } = OPTIONS;
      const decayed = p!.data.map((x) => x * (1 - lr * weightDecay));
      const gradient = d!.data.map((x) => x * gradientScale);
      return adamReference(decayed, gradient, m!.data, v!.data, STEP, lr, 0).map((data) => ({ shape: SHAPE, data }));
    },
  },
  clipSpec("clip norm, above the bound", 900, 2),
  clipSpec("clip norm, below the bound", 9, 2),
  {
    name: "lerp",
    inputs: { a: { shape: SHAPE }, b: { shape: SHAPE }, t: { shape: [1], data: [0.125] } },
    build: (g, { a, b, t }) => lerp(g, a!, b!, t!),
    reference: ({ a, b }) => map64(a!, (x, i) => x + (b!.data[i]! - x) * 0.125),
  },
  {
    name: "sum of squares",
    inputs: { x: { shape: [9001] }, y: { shape: [7] } },
    build: (g, { x, y }) => sumOfSquares(g, y!, sumOfSquares(g, x!)),
    reference: ({ x, y }) => ({ shape: [1], data: Float64Array.of(squaresOf(x!.data) + squaresOf(y!.data)) }),
  },
  {
    name: "repack",
    inputs: { x: { shape: [2, 12, 3 * PANEL] }, w: { shape: [1, 2, 8, 2 * PANEL], stored: "f32" } },
    build: (g, { x, w }) => [repack(g, x!), repack(g, w!)],
    reference: ({ x, w }) => [{ shape: x!.shape, data: panelled(x!) }, w!],
    gradients: ["x"],
  },
];
