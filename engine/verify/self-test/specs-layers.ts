import { attention } from "../../../kernels/attention.ts";
import { averagePool2d } from "../../../kernels/average-pool-2d.ts";
import { averagePool } from "../../../kernels/average-pool.ts";
import { joinColumns, splitColumns } from "../../../kernels/columns.ts";
import { concat } from "../../../kernels/concat.ts";
import { conv2d } from "../../../kernels/conv2d.ts";
import { groupNorm } from "../../../kernels/group-norm.ts";
import { groupNormParts } from "../../../kernels/group-norm-parts.ts";
import type { Value } from "../../../kernels/kernel.ts";
import { layerNorm } from "../../../kernels/layer-norm.ts";
import { matmulGeglu } from "../../../kernels/matmul-geglu.ts";
import { matmul } from "../../../kernels/matmul.ts";
import { maxPool } from "../../../kernels/max-pool.ts";
import { pad, rows, slice } from "../../../kernels/slice.ts";
import { upsampleNearest } from "../../../kernels/upsample.ts";
import type { Array64 } from "./array64.ts";
import type { OpSpec } from "./op-check.ts";
import { attentionReference } from "./reference/attention.ts";
import { conv2d64, matmul64 } from "./reference/gemm.ts";
import { activations, groupNorm64, layerNorm64 } from "./reference/norm.ts";
import {
  averagePool2dReference,
  averagePoolReference,
  concatReference,
  maxPoolReference,
  upsampleReference,
  windowReference,
} from "./reference/spatial.ts";

/** Different numbers in a random order, a tenth apart, so that no finite difference changes which is the greatest. */
function distinct(count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => [Math.random(), i] as const).toSorted((a, b) => a[0] - b[0]);
  return order.map(([, i]) => (i - count / 2) / 10);
}

/** value * gelu(gate) of rows of two values, their two gates, two values... plus `bias`. */
function geglu64InFours({ shape, data }: Array64, bias: Array64): Array64 {
  const n = shape.at(-1)!;
  const sum = (i: number): number => data[i]! + bias.data[i % n]!;
  const at = (i: number): number => Math.floor(i / 2) * 4 + (i % 2);
  return {
    shape: [...shape.slice(0, -1), n / 2],
    data: Float64Array.from({ length: data.length / 2 }, (_, i) => sum(at(i)) * activations.gelu(sum(at(i) + 2))),
  };
}

const GROUPS = { groups: 4, epsilon: 1e-5 } as const;

/** Matrix products, convolutions, attention, norms and the ops that move pixels, at awkward sizes: no multiples of a tile, odd widths. */
export const LAYER_SPECS: readonly OpSpec[] = [
  {
    name: "matmul",
    inputs: { a: { shape: [2, 37, 20] }, b: { shape: [20, 11] } },
    build: (g, { a, b }) => matmul(g, a!, b!),
    reference: ({ a, b }) => matmul64(a!, b!, false),
    gradients: ["a", "b"],
  },
  {
    name: "matmul, transposed",
    inputs: { a: { shape: [3, 19, 24] }, b: { shape: [3, 13, 24] } },
    build: (g, { a, b }) => matmul(g, a!, b!, { transposeB: true }),
    reference: ({ a, b }) => matmul64(a!, b!, true),
    gradients: ["a", "b"],
  },
  {
    name: "matmul with GEGLU",
    inputs: { a: { shape: [2, 13, 20] }, b: { shape: [20, 36], scale: 0.3 }, bias: { shape: [36] } },
    build: (g, { a, b, bias }) => matmulGeglu(g, a!, b!, bias!),
    reference: ({ a, b, bias }) => geglu64InFours(matmul64(a!, b!, false), bias!),
    gradients: ["a", "b", "bias"],
  },
  {
    name: "conv2d 3x3",
    inputs: { x: { shape: [2, 9, 7, 20] }, w: { shape: [3, 3, 20, 12], scale: 0.1 }, bias: { shape: [12] } },
    build: (g, { x, w, bias }) => conv2d(g, x!, w!, { bias: bias!, padding: 1 }),
    reference: ({ x, w, bias }) => conv2d64(x!, w!, bias!, 1, [1, 1, 1, 1]),
    gradients: ["x", "w", "bias"],
  },
  {
    name: "conv2d 3x3, stride 2",
    inputs: { x: { shape: [1, 8, 10, 6] }, w: { shape: [3, 3, 6, 7], scale: 0.1 }, bias: { shape: [7] } },
    build: (g, { x, w, bias }) => conv2d(g, x!, w!, { bias: bias!, stride: 2, padding: [0, 1, 0, 1] }),
    reference: ({ x, w, bias }) => conv2d64(x!, w!, bias!, 2, [0, 1, 0, 1]),
    gradients: ["x", "w"],
  },
  ...[
    { name: "attention", heads: 2, queries: 37, keys: 21, head: 20, causal: false },
    { name: "attention, causal", heads: 2, queries: 19, keys: 19, head: 8, causal: true },
  ].map(({ name, heads, queries, keys, head, causal }): OpSpec => ({
    name,
    inputs: { q: { shape: [2, queries, heads * head] }, k: { shape: [2, keys, heads * head] }, v: { shape: [2, keys, heads * head] } },
    build: (g, { q, k, v }) => attention(g, q!, k!, v!, { heads, causal }),
    reference: ({ q, k, v }) => attentionReference(q!, k!, v!, { heads, causal })[0],
    gradients: ["q", "k", "v"],
  })),
  {
    name: "attention, of columns",
    inputs: { x: { shape: [2, 19, 48] } },
    build(g, { x }) {
      const [q, k, v] = splitColumns(g, x!, [16, 16, 16]) as [Value, Value, Value];
      return attention(g, q, k, v, { heads: 2 });
    },
    reference: ({ x }) =>
      attentionReference(windowReference(x!, 2, 0, 16), windowReference(x!, 2, 16, 16), windowReference(x!, 2, 32, 16), { heads: 2 })[0],
    gradients: ["x"],
  },
  {
    name: "columns side by side",
    inputs: { a: { shape: [2, 9, 8] }, b: { shape: [2, 9, 6] } },
    build: (g, { a, b }) => joinColumns(g, [a!, b!]),
    reference: ({ a, b }) => ({
      shape: [2, 9, 14],
      data: Float64Array.from({ length: 18 * 14 }, (_, i) => {
        const [row, column] = [Math.floor(i / 14), i % 14];
        return column < 8 ? a!.data[8 * row + column]! : b!.data[6 * row + column - 8]!;
      }),
    }),
  },
  {
    name: "group norm",
    inputs: { x: { shape: [2, 7, 5, 20] }, gamma: { shape: [20] }, beta: { shape: [20] } },
    build: (g, { x, gamma, beta }) => groupNorm(g, x!, gamma!, beta!, { ...GROUPS, silu: true }),
    reference: ({ x, gamma, beta }) => groupNorm64(x!, gamma!, beta!, { ...GROUPS, silu: true }),
    gradients: ["x", "gamma", "beta"],
  },
  {
    name: "group norm, of large groups", // no workgroup takes one alone
    inputs: { x: { shape: [1, 40, 20, 18] }, gamma: { shape: [18] }, beta: { shape: [18] } },
    build: (g, { x, gamma, beta }) => groupNorm(g, x!, gamma!, beta!, { ...GROUPS, groups: 3, silu: true }),
    reference: ({ x, gamma, beta }) => groupNorm64(x!, gamma!, beta!, { ...GROUPS, groups: 3, silu: true }),
    gradients: ["x", "gamma", "beta"],
  },
  {
    name: "group norm, in parts",
    inputs: { x: { shape: [1, 7, 5, 20] }, gamma: { shape: [20] }, beta: { shape: [20] } },
    build(g, { x, gamma, beta }) {
      const parts = [slice(g, x!, 0, 3, 1), slice(g, x!, 3, 3, 1), slice(g, x!, 6, 1, 1)];
      const [a, b, c] = groupNormParts(g, parts, gamma!, beta!, GROUPS);
      return concat(g, concat(g, a!, b!, 1), c!, 1);
    },
    reference: ({ x, gamma, beta }) => groupNorm64(x!, gamma!, beta!, GROUPS),
  },
  {
    name: "layer norm",
    inputs: { x: { shape: [3, 13, 20] }, gamma: { shape: [20] }, beta: { shape: [20] } },
    build: (g, { x, gamma, beta }) => layerNorm(g, x!, gamma!, beta!, { epsilon: 1e-5 }),
    reference: ({ x, gamma, beta }) => layerNorm64(x!, gamma!, beta!, 1e-5),
    gradients: ["x", "gamma", "beta"],
  },
  {
    name: "upsample",
    inputs: { x: { shape: [2, 3, 5, 6] } },
    build: (g, { x }) => upsampleNearest(g, x!),
    reference: ({ x }) => upsampleReference(x!, 6, 10),
    gradients: ["x"],
  },
  {
    name: "max pool",
    inputs: { x: { shape: [2, 9, 7, 5], data: distinct(630) } },
    build: (g, { x }) => maxPool(g, x!, { kernel: 3, stride: 2, padding: 1 }),
    reference: ({ x }) => maxPoolReference(x!, 3, 2, 1),
    gradients: ["x"],
  },
  {
    name: "average pool",
    inputs: { x: { shape: [3, 4, 5, 7] } },
    build: (g, { x }) => averagePool(g, x!),
    reference: ({ x }) => averagePoolReference(x!),
    gradients: ["x"],
  },
  ...[true, false].map((countPadding): OpSpec => ({
    name: `average pool 2d, padding ${countPadding ? "" : "not "}counted`,
    inputs: { x: { shape: [2, 4, 5, countPadding ? 7 : 8] } },
    build: (g, { x }) => averagePool2d(g, x!, { kernel: 3, countPadding }),
    reference: ({ x }) => averagePool2dReference(x!, 3, countPadding),
    gradients: ["x"],
  })),
  {
    name: "concat",
    inputs: { a: { shape: [2, 3, 5] }, b: { shape: [2, 3, 7] } },
    build: (g, { a, b }) => concat(g, a!, b!),
    reference: ({ a, b }) => concatReference(a!, b!, 2),
    gradients: ["a", "b"],
  },
  {
    name: "slice",
    inputs: { x: { shape: [3, 7, 5] } },
    build: (g, { x }) => rows(g, x!, 2, 4),
    reference: ({ x }) => windowReference(x!, 1, 2, 4),
    gradients: ["x"],
  },
  {
    name: "pad",
    inputs: { x: { shape: [2, 5, 3] } },
    build: (g, { x }) => pad(g, x!, 1, 2, 1),
    reference: ({ x }) => windowReference(x!, 1, -2, 8),
    gradients: ["x"],
  },
];
