import { test } from "uvu";
import * as assert from "uvu/assert";
import { groupNorm, groupNormKernel } from "../../kernels/group-norm.ts";
import { layerNorm, layerNormKernel } from "../../kernels/layer-norm.ts";
import { placedKernel } from "../../kernels/placed-kernel.ts";
import { softmax } from "../../kernels/softmax.ts";
import { add } from "../../kernels/elementwise.ts";
import { argmax } from "../../kernels/argmax.ts";
import { f32 } from "../../kernels/kernel.ts";
import { checkOp } from "../support/op-test.ts";
import { plannedForGpu } from "../support/planning.ts";
import { finish } from "../support/device.ts";
import { groupNorm64, layerNorm64, map64, softmax64 } from "../../engine/verify/self-test/reference/norm.ts";

// One pixel per batch entry, 1, 3, 5, 10 channels a group, odd channel counts, groups above and below the size that takes two steps.
const groupNormCases: { shape: number[]; groups: number; silu: boolean; mean?: number }[] = [
  { shape: [1, 8, 8, 32], groups: 32, silu: false },
  { shape: [3, 5, 7, 20], groups: 4, silu: true },
  { shape: [2, 37, 15], groups: 5, silu: true },
  { shape: [2, 37, 15], groups: 3, silu: false },
  { shape: [3, 1, 1, 64], groups: 8, silu: true },
  { shape: [2, 16, 16, 48], groups: 16, silu: true },
  { shape: [1, 33, 40], groups: 4, silu: false },
  { shape: [2, 31, 33, 10], groups: 2, silu: true },
  { shape: [1, 45, 37, 12], groups: 3, silu: true },
  { shape: [1, 41, 29, 8], groups: 2, silu: false },
  { shape: [1, 5000, 3], groups: 1, silu: false },
  { shape: [2, 16, 16, 12], groups: 4, silu: false, mean: 100 },
  { shape: [1, 64, 65, 8], groups: 4, silu: true, mean: -100 },
];
for (const { shape, groups, silu, mean = 0 } of groupNormCases) {
  const name = `groupNorm [${shape.join(",")}] in ${groups} groups${silu ? " with silu" : ""}${mean ? ` around ${mean}` : ""}`;
  test(name, async () => {
    const channels = shape.at(-1)!;
    const count = shape.reduce((a, b) => a * b, 1);
    const large = count > 3000; // every finite difference of the reference is a whole pass over it
    await checkOp({
      name,
      inputs: {
        // Around a large mean the sums of squares cancel unless the deviations are taken first.
        x: { shape, data: Array.from({ length: count }, () => mean + 2 * (Math.random() + Math.random() + Math.random() - 1.5)) },
        gamma: { shape: [channels] },
        beta: { shape: [channels] },
      },
      build: (g, v) => groupNorm(g, v.x!, v.gamma!, v.beta!, { groups, epsilon: 1e-5, silu }),
      reference: ({ x, gamma, beta }) => groupNorm64(x!, gamma!, beta!, { groups, epsilon: 1e-5, silu }),
      gradients: large && shape.length === 3 ? [] : ["x", "gamma", "beta"],
    });
  });
}

// So even that epsilon decides, in every way that a norm is shared out.
for (const { shape, groups } of groupNormCases) {
  const channels = shape.at(-1)!;
  const name = `groupNorm of nearly equal numbers [${shape.join(",")}] in ${groups} groups`;
  test(name, () =>
    checkOp({
      name,
      inputs: { x: { shape, scale: 0.003 }, gamma: { shape: [channels] }, beta: { shape: [channels] } },
      build: (g, v) => groupNorm(g, v.x!, v.gamma!, v.beta!, { groups, epsilon: 1e-5, silu: false }),
      reference: ({ x, gamma, beta }) => groupNorm64(x!, gamma!, beta!, { groups, epsilon: 1e-5 }),
    }));
}

// What reaches x past the norm is added by the norm's own gradient: in one dispatch, in several, and by rows.
for (const [shape, groups, planned] of [
  [[2, 7, 5, 20], 2, false],
  [[2, 9, 7, 15], 5, false],
  [[1, 97, 89, 16], 4, true],
  [[3, 11, 64], 0, false],
] as const) {
  test(`gradient of a norm of [${shape.join(",")}] in ${groups} groups, with a residual`, async () => {
    const channels = shape.at(-1)!;
    const options = { groups, epsilon: 1e-5, silu: true };
    await checkOp({
      name: "norm with a residual",
      inputs: { x: { shape }, gamma: { shape: [channels] }, beta: { shape: [channels] } },
      build(g, v) {
        const r = planned ? plannedForGpu(g) : g;
        return add(r, groups === 0 ? layerNorm(r, v.x!, v.gamma!, v.beta!, options) : groupNorm(r, v.x!, v.gamma!, v.beta!, options), v.x!);
      },
      reference: ({ x, gamma, beta }) =>
        map64(groups === 0 ? layerNorm64(x!, gamma!, beta!, 1e-5) : groupNorm64(x!, gamma!, beta!, options), (v, i) => v + x!.data[i]!),
      gradients: shape[1] === 97 ? [] : ["x"],
    });
  });
}

const layerNormCases: { shape: number[]; mean?: number }[] = [
  { shape: [2, 37, 20] },
  { shape: [3, 77] },
  { shape: [5, 1, 33] },
  { shape: [1, 768] },
  { shape: [3, 3, 1] },
  { shape: [2, 4100] },
  { shape: [13, 320], mean: 100 },
];
for (const { shape, mean = 0 } of layerNormCases) {
  const name = `layerNorm [${shape.join(",")}]${mean ? ` around ${mean}` : ""}`;
  test(name, async () => {
    const width = shape.at(-1)!;
    const count = shape.reduce((a, b) => a * b, 1);
    await checkOp({
      name,
      inputs: {
        x: { shape, data: Array.from({ length: count }, () => mean + 4 * (Math.random() + Math.random() - 1)) },
        gamma: { shape: [width] },
        beta: { shape: [width] },
      },
      build: (g, v) => layerNorm(g, v.x!, v.gamma!, v.beta!, { epsilon: 1e-5 }),
      reference: ({ x, gamma, beta }) => layerNorm64(x!, gamma!, beta!, 1e-5),
      gradients: width > 1 ? ["x", "gamma", "beta"] : [],
    });
  });
}

const softmaxCases: { shape: number[]; scale?: number }[] = [
  { shape: [3, 20] },
  { shape: [2, 37, 37], scale: 5 },
  { shape: [7, 1, 9], scale: 4 },
  { shape: [5, 1003] },
  { shape: [2, 4099], scale: 3 },
  { shape: [1, 8200] },
];
for (const { shape, scale = 1 } of softmaxCases) {
  const name = `softmax [${shape.join(",")}] of numbers around ${scale}`;
  test(name, async () => {
    await checkOp({
      name,
      inputs: { x: { shape, scale } },
      build: (g, v) => softmax(g, v.x!),
      reference: ({ x }) => softmax64(x!),
      gradients: ["x"],
    });
  });
}

test("softmax with float32's lowest values, as a causal mask adds, and with equal large ones", async () => {
  const lowest = -3.4028234663852886e38;
  await checkOp({
    name: "softmax masked",
    inputs: { x: { shape: [3, 5], data: [1, lowest, 2, lowest, lowest, lowest, lowest, lowest, lowest, 0.5, 3e38, 3e38, -3e38, 0, 1] } },
    build: (g, v) => softmax(g, v.x!),
    reference: ({ x }) => softmax64(x!),
  });
});

for (const shape of [[3, 20], [2, 5, 33], [1], [7], [2, 4099], [1, 50000], [70, 3]]) {
  test(`argmax [${shape.join(",")}], ties to the lowest index`, async () => {
    const count = shape.reduce((a, b) => a * b, 1);
    await checkOp({
      name: `argmax [${shape.join(",")}]`,
      // Few distinct values, all negative, so that every row has ties and a stray 0 would win.
      inputs: { x: { shape, data: Array.from({ length: count }, () => -1 - Math.floor(Math.random() * 4)) } },
      build: (g, v) => argmax(g, v.x!),
      reference: ({ x }) => {
        const width = shape.at(-1)!;
        const rows = count / width;
        const data = Float64Array.from({ length: rows }, (_, r) => {
          const row = x!.data.subarray(r * width, (r + 1) * width);
          return row.indexOf(row.reduce((a, b) => Math.max(a, b), -Infinity));
        });
        return { shape: shape.length > 1 ? shape.slice(0, -1) : [1], data };
      },
      forwardTolerance: 0,
    });
  });
}

test("without subgroups, and planned as for a GPU", async () => {
  for (const [shape, groups] of [[[2, 7, 5, 20], 4], [[3, 11, 15], 5], [[1, 37, 41, 12], 3], [[1, 33, 67, 6], 3]] as const) {
    const channels = shape.at(-1)!;
    await checkOp({
      name: `groupNorm [${shape.join(",")}] without subgroups`,
      inputs: { x: { shape }, gamma: { shape: [channels] }, beta: { shape: [channels] } },
      build: (g, v) => groupNorm(plannedForGpu(g), v.x!, v.gamma!, v.beta!, { groups, epsilon: 1e-6, silu: true }),
      reference: ({ x, gamma, beta }) => groupNorm64(x!, gamma!, beta!, { groups, epsilon: 1e-6, silu: true }),
      gradients: ["x"],
    });
  }
  for (const shape of [[3, 20], [5, 7, 33]]) {
    await checkOp({
      name: `layerNorm [${shape.join(",")}] without subgroups`,
      inputs: { x: { shape }, gamma: { shape: [shape.at(-1)!] }, beta: { shape: [shape.at(-1)!] } },
      build: (g, v) => layerNorm(plannedForGpu(g), v.x!, v.gamma!, v.beta!, { epsilon: 1e-5 }),
      reference: ({ x, gamma, beta }) => layerNorm64(x!, gamma!, beta!, 1e-5),
      gradients: ["x"],
    });
    await checkOp({
      name: `softmax [${shape.join(",")}] without subgroups`,
      inputs: { x: { shape } },
      build: (g, v) => softmax(plannedForGpu(g), v.x!),
      reference: ({ x }) => softmax64(x!),
      gradients: ["x"],
    });
  }
  await checkOp({
    name: "argmax without subgroups",
    inputs: { x: { shape: [3, 5], data: [-5, -1, -3, -1, -2, 4, 4, 4, 4, 4, 0, 1, 2, 3, 4] } },
    build: (g, v) => argmax(plannedForGpu(g), v.x!),
    reference: () => ({ shape: [3], data: Float64Array.of(1, 0, 4) }),
  });
});

test("shape rules name the op, the tensor and the shapes", () => {
  const attributes = { groups: 3, epsilon: 1e-5, silu: false };
  assert.throws(
    () => placedKernel(groupNormKernel).infer([f32([1, 4, 4, 20]), f32([20]), f32([20])], attributes),
    /group-norm: 3 groups do not divide the 20 channels of x f32\[1,4,4,20\]/,
  );
  assert.throws(
    () => placedKernel(groupNormKernel).infer([f32([1, 4, 4, 21]), f32([20]), f32([21])], attributes),
    /group-norm: gamma must be \[21\].*got f32\[20\]/,
  );
  assert.throws(
    () => placedKernel(groupNormKernel).infer([f32([21]), f32([21]), f32([21])], attributes),
    /group-norm: x must be \[batch, .., channels\], got f32\[21\]/,
  );
  assert.throws(
    () => placedKernel(layerNormKernel).infer([f32([2, 8]), f32([8]), f32([2])], { epsilon: 1e-5 }),
    /layer-norm: beta must be \[8\]/,
  );
  assert.throws(
    () => placedKernel(layerNormKernel).infer([f32([2, 8]), f32([8]), undefined], { epsilon: 1e-5 }),
    /layer-norm: input "beta" is missing/,
  );
});

finish();
