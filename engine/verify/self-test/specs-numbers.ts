import { type ActivationKind, activation, sqrt } from "../../../kernels/activation.ts";
import { ADAM_HYPERPARAMETERS, adam, adamHyperparameters } from "../../../kernels/adam.ts";
import { argmax } from "../../../kernels/argmax.ts";
import { broadcastAdd, broadcastTo, sumRows } from "../../../kernels/broadcast.ts";
import { categorical } from "../../../kernels/categorical.ts";
import { clamp } from "../../../kernels/clamp.ts";
import { add, multiply, scale } from "../../../kernels/elementwise.ts";
import { embedding } from "../../../kernels/embedding.ts";
import { endOfText } from "../../../kernels/end-of-text.ts";
import { fill } from "../../../kernels/fill.ts";
import { gatherRows } from "../../../kernels/gather-rows.ts";
import { geglu } from "../../../kernels/geglu.ts";
import { guidance, safeGuidance } from "../../../kernels/guidance.ts";
import { linearCombination } from "../../../kernels/linear-combination.ts";
import { lossScale, scaleBy } from "../../../kernels/loss-scale.ts";
import { l1Loss, mseLoss } from "../../../kernels/loss.ts";
import { sum } from "../../../kernels/reduce.ts";
import { reshape } from "../../../kernels/reshape.ts";
import { simplexProjection } from "../../../kernels/simplex-projection.ts";
import { scatterIds } from "../../../kernels/slots.ts";
import { softmax } from "../../../kernels/softmax.ts";
import { transpose } from "../../../kernels/transpose.ts";
import { safeLatentGuidance } from "../../diffusion/guidance.ts";
import type { Array64 } from "./array64.ts";
import { type OpSpec, normals } from "./op-check.ts";
import { activations, geglu64, map64, rows64, softmax64 } from "./reference/norm.ts";
import { adamReference, projectionReference } from "./reference/optimizer.ts";
import { gatherReference } from "./reference/tokens.ts";

const scalar = (value: number): Array64 => ({ shape: [1], data: Float64Array.of(value) });
const indices = (values: readonly number[]): Array64 => ({ shape: [values.length], data: Float64Array.from(values) });

function meanOf(a: Array64, b: Array64, f: (difference: number) => number): Array64 {
  return scalar(a.data.reduce((s, v, i) => s + f(v - b.data[i]!), 0) / a.data.length);
}

/** Away from 0 and from +-1, where clamp, relu and l1 have their corners. */
function offCorners(count: number): number[] {
  return Array.from(
    { length: count },
    () => (Math.random() < 0.5 ? -1 : 1) * [0.1 + 0.8 * Math.random(), 1.1 + Math.random()][Math.round(Math.random())]!,
  );
}

/** The power of two that brings the largest magnitude into [8, 16). */
function powerOfTwo({ data }: Array64): number {
  return 2 ** (3 - Math.floor(Math.log2(data.reduce((most, v) => Math.max(most, Math.abs(v)), 0))));
}

const WEIGHTS = Float32Array.from({ length: 3 * 301 }, () => Math.random());
const SLD = { guidance: 2000, threshold: 0.025, momentumScale: 0.5, momentumBeta: 0.7 } as const;

/** The index that a uniform number falls on, over the running sums of a row. */
function drawn(row: Float64Array, u: number): number {
  let left = u * row.reduce((a, b) => a + b, 0);
  return row.findIndex((w) => (left -= w) < 0);
}

/** Activations that take any number: all but the square root. */
const ANYWHERE = (Object.keys(activations) as ActivationKind[]).filter((kind) => kind !== "sqrt");

/** Elementwise ops, losses, and what the search and the sampler are made of. */
export const NUMBER_SPECS: readonly OpSpec[] = [
  ...ANYWHERE.map((kind): OpSpec => ({
    name: `activation, ${kind}`,
    inputs: { x: { shape: [3, 37], data: offCorners(111) } },
    build: (g, { x }) => activation(g, x!, kind),
    reference: ({ x }) => map64(x!, activations[kind]),
    gradients: ["x"],
  })),
  {
    name: "activation, sqrt",
    inputs: { x: { shape: [3, 37], data: normals(111).map((x) => 0.1 + x * x) } },
    build: (g, { x }) => sqrt(g, x!),
    reference: ({ x }) => map64(x!, Math.sqrt),
    gradients: ["x"],
  },
  {
    name: "geglu",
    inputs: { x: { shape: [5, 22] } },
    build: (g, { x }) => geglu(g, x!),
    reference: ({ x }) => geglu64(x!),
    gradients: ["x"],
  },
  {
    name: "softmax",
    inputs: { x: { shape: [5, 37], scale: 3 } },
    build: (g, { x }) => softmax(g, x!),
    reference: ({ x }) => softmax64(x!),
    gradients: ["x"],
  },
  {
    name: "add",
    inputs: { a: { shape: [3, 7] }, b: { shape: [3, 7] } },
    build: (g, { a, b }) => add(g, a!, b!),
    reference: ({ a, b }) => map64(a!, (v, i) => v + b!.data[i]!),
    gradients: ["a", "b"],
  },
  {
    name: "multiply",
    inputs: { a: { shape: [3, 7] }, b: { shape: [3, 7] } },
    build: (g, { a, b }) => multiply(g, a!, b!),
    reference: ({ a, b }) => map64(a!, (v, i) => v * b!.data[i]!),
    gradients: ["a", "b"],
  },
  {
    name: "scale",
    inputs: { x: { shape: [31] } },
    build: (g, { x }) => scale(g, x!, -1.75),
    reference: ({ x }) => map64(x!, (v) => v * -1.75),
    gradients: ["x"],
  },
  {
    name: "loss scale",
    inputs: { x: { shape: [3, 37], scale: 1e-7 } },
    build: (g, { x }) => {
      const s = lossScale(g, x!);
      return [s, scaleBy(g, x!, s), scaleBy(g, x!, s, true)];
    },
    reference: ({ x }) => {
      const s = powerOfTwo(x!);
      return [scalar(s), map64(x!, (v) => v * s), map64(x!, (v) => v / s)];
    },
  },
  {
    name: "fill",
    inputs: { x: { shape: [3, 5] } },
    build: (g, { x }) => add(g, x!, fill(g, [3, 5], 0.75)),
    reference: ({ x }) => map64(x!, (v) => v + 0.75),
    gradients: ["x"],
  },
  {
    name: "broadcast add",
    inputs: { x: { shape: [4, 5, 3] }, b: { shape: [5, 3] } },
    build: (g, { x, b }) => broadcastAdd(g, x!, b!),
    reference: ({ x, b }) => map64(x!, (v, i) => v + b!.data[i % 15]!),
    gradients: ["x", "b"],
  },
  {
    name: "broadcast to",
    inputs: { b: { shape: [7] } },
    build: (g, { b }) => broadcastTo(g, b!, [5, 7]),
    reference: ({ b }) => ({ shape: [5, 7], data: Float64Array.from({ length: 35 }, (_, i) => b!.data[i % 7]!) }),
    gradients: ["b"],
  },
  {
    name: "sum rows",
    inputs: { x: { shape: [300, 5] } },
    build: (g, { x }) => sumRows(g, x!, [5]),
    reference: ({ x }) => ({
      shape: [5],
      data: Float64Array.from({ length: 5 }, (_, c) => x!.data.reduce((s, v, i) => s + (i % 5 === c ? v : 0), 0)),
    }),
    gradients: ["x"],
  },
  {
    name: "sum",
    inputs: { x: { shape: [9001], data: Array.from({ length: 9001 }, () => 1 + Math.random()) } },
    build: (g, { x }) => sum(g, x!, 0.5),
    reference: ({ x }) => scalar(x!.data.reduce((s, v) => s + 0.5 * v, 0)),
    gradients: ["x"],
  },
  {
    name: "mse loss",
    inputs: { a: { shape: [3, 37] }, b: { shape: [3, 37] } },
    build: (g, { a, b }) => mseLoss(g, a!, b!),
    reference: ({ a, b }) => meanOf(a!, b!, (d) => d * d),
    gradients: ["a", "b"],
  },
  {
    name: "l1 loss",
    inputs: { a: { shape: [3, 37], data: offCorners(111) }, b: { shape: [3, 37], data: Array.from({ length: 111 }, () => 0) } },
    build: (g, { a, b }) => l1Loss(g, a!, b!),
    reference: ({ a, b }) => meanOf(a!, b!, Math.abs),
    gradients: ["a"],
  },
  {
    name: "clamp",
    inputs: { x: { shape: [3, 37], data: offCorners(111) } },
    build: (g, { x }) => clamp(g, x!),
    reference: ({ x }) => map64(x!, (v) => Math.min(1, Math.max(-1, v))),
    gradients: ["x"],
  },
  {
    name: "reshape",
    inputs: { x: { shape: [3, 8] } },
    build: (g, { x }) => scale(g, reshape(g, x!, [4, 6]), 2),
    reference: ({ x }) => ({ shape: [4, 6], data: x!.data.map((v) => 2 * v) }),
    gradients: ["x"],
  },
  {
    name: "transpose",
    inputs: { x: { shape: [2, 5, 7] } },
    build: (g, { x }) => transpose(g, x!),
    reference: ({ x }) => ({
      shape: [2, 7, 5],
      data: x!.data.map((_, i) => x!.data[Math.floor(i / 35) * 35 + (i % 5) * 7 + (Math.floor(i / 5) % 7)]!),
    }),
    gradients: ["x"],
  },
  {
    name: "linear combination",
    inputs: { c: { shape: [2], data: [0.5, -1.25] }, a: { shape: [3, 7] }, b: { shape: [3, 7] } },
    build: (g, { c, a, b }) => linearCombination(g, c!, [a!, b!]),
    reference: ({ c, a, b }) => map64(a!, (v, i) => c!.data[0]! * v + c!.data[1]! * b!.data[i]!),
    gradients: ["a", "b"],
  },
  {
    name: "embedding",
    inputs: { table: { shape: [100, 12] }, ids: { shape: [2, 5], dtype: "u32", data: [3, 99, 0, 3, 41, 7, 7, 98, 12, 55] } },
    build: (g, { table, ids }) => embedding(g, table!, ids!),
    reference: ({ table, ids }) => gatherReference(table!, ids!, [2, 5, 12]),
    gradients: ["table"],
  },
  {
    name: "gather and scatter rows",
    inputs: { x: { shape: [1, 37, 20] }, positions: { shape: [4], dtype: "u32", data: [3, 36, 0, 3] } },
    build: (g, { x, positions }) => gatherRows(g, x!, positions!),
    reference: ({ x, positions }) => gatherReference(x!, positions!, [4, 20]),
    gradients: ["x"],
  },
  {
    name: "scatter ids",
    inputs: {
      ids: { shape: [1, 9], dtype: "u32", data: [1, 2, 3, 4, 5, 6, 7, 8, 9] },
      chosen: { shape: [2], dtype: "u32", data: [50, 60] },
      positions: { shape: [4], dtype: "u32", data: [1, 8, 4, 2] },
    },
    build: (g, { ids, chosen, positions }) => scatterIds(g, ids!, chosen!, positions!),
    reference: () => ({ shape: [1, 9], data: Float64Array.of(1, 50, 60, 4, 50, 6, 7, 8, 60) }),
  },
  {
    name: "end of text",
    inputs: { ids: { shape: [3, 6], dtype: "u32", data: [1, 7, 9, 4, 9, 9, 9, 12, 3, 8, 2, 5, 1, 0, 2, 9, 30, 4] } },
    build(g, { ids }) {
      const { ids: padded, position } = endOfText(g, ids!, { end: 9, pad: 6, limit: 12 });
      return [padded, position];
    },
    reference: () => [
      { shape: [3, 6], data: Float64Array.of(1, 7, 9, 6, 6, 6, 9, 6, 6, 6, 6, 6, 1, 0, 2, 9, 6, 6) },
      { shape: [3], data: Float64Array.of(2, 6, 15) },
    ],
  },
  {
    name: "argmax",
    inputs: { x: { shape: [3, 301] } },
    build: (g, { x }) => argmax(g, x!),
    reference: ({ x }) =>
      indices([0, 1, 2].map((r) => x!.data.subarray(r * 301, r * 301 + 301).reduce((best, v, i, row) => (v > row[best]! ? i : best), 0))),
  },
  {
    name: "categorical",
    inputs: { weights: { shape: [3, 301], data: WEIGHTS }, uniforms: { shape: [3], data: [0.123, 0.5, 0.987] } },
    build: (g, { weights, uniforms }) => categorical(g, weights!, uniforms!),
    reference: ({ weights, uniforms }) =>
      indices([0, 1, 2].map((r) => drawn(weights!.data.subarray(r * 301, r * 301 + 301), uniforms!.data[r]!))),
  },
  {
    name: "adam",
    inputs: {
      p: { shape: [3, 37] },
      d: { shape: [3, 37] },
      m: { shape: [3, 37], scale: 0.1 },
      v: { shape: [3, 37], data: normals(111, 0.1).map((x) => x * x) },
      hyper: { shape: [ADAM_HYPERPARAMETERS], data: adamHyperparameters({ lr: 0.05, weightDecay: 0.1 }, 3) },
    },
    build(g, { p, d, m, v, hyper }) {
      const next = adam(g, { parameter: p!, m: m!, v: v! }, d!, hyper!);
      return [next.parameter, next.m, next.v];
    },
    reference: ({ p, d, m, v }) =>
      adamReference(p!.data, d!.data, m!.data, v!.data, 3, 0.05, 0.1).map((data) => ({ shape: [3, 37], data })),
  },
  ...(["exact", "reference"] as const).map((projection): OpSpec => ({
    name: projection === "exact" ? "simplex projection" : "simplex projection, by bisection",
    inputs: { x: { shape: [3, 301], scale: 0.05 } },
    build: (g, { x }) => simplexProjection(g, x!, projection),
    reference: ({ x }) => rows64(x!, (row) => projectionReference(Float32Array.from(row))),
    ...(projection === "reference" && { forwardTolerance: 2e-3 }), // it stops at 1e-5 in the shift
  })),
  {
    name: "guidance",
    inputs: { x: { shape: [2, 4, 4, 4] } },
    build: (g, { x }) => guidance(g, x!, 7.5),
    reference: ({ x }) => ({
      shape: [1, 4, 4, 4],
      data: Float64Array.from({ length: 64 }, (_, i) => x!.data[i]! + 7.5 * (x!.data[64 + i]! - x!.data[i]!)),
    }),
    gradients: ["x"],
  },
  {
    name: "safe guidance",
    inputs: { x: { shape: [3, 4, 4, 4] }, momentum: { shape: [1, 4, 4, 4], scale: 0.1 }, enabled: { shape: [1], data: [1] } },
    build(g, { x, momentum, enabled }) {
      const safe = safeGuidance(g, x!, momentum!, enabled!, SLD, 7.5);
      return [safe.prediction, safe.momentum];
    },
    reference({ x, momentum }) {
      const part = (i: number): Float32Array => Float32Array.from(x!.data.subarray(64 * i, 64 * i + 64));
      const next = Float32Array.from(momentum!.data);
      const prediction = safeLatentGuidance(
        { unconditional: part(0), text: part(1), safety: part(2) },
        next,
        { ...SLD, warmup: 0 },
        7.5,
        999,
      );
      return [prediction, next].map((data) => ({ shape: [1, 4, 4, 4], data: Float64Array.from(data) }));
    },
  },
];
