import { test } from "uvu";
import * as assert from "uvu/assert";
import { elementCount, f32 } from "../../kernels/kernel.ts";
import { l1Loss, mseLoss, mseLossKernel } from "../../kernels/loss.ts";
import { placedKernel } from "../../kernels/placed-kernel.ts";
import { sum } from "../../kernels/reduce.ts";
import { type Array64, checkOp } from "../support/op-test.ts";
import { finish } from "../support/device.ts";

// One element, no whole vec4, one workgroup, several workgroups, more than one round of each thread.
const shapes = [[1], [3], [1, 4, 16, 16], [3, 37, 5], [9001], [150001]];

function mean64(a: Array64, b: Array64, f: (d: number) => number): Array64 {
  return { shape: [1], data: Float64Array.of(a.data.reduce((s, v, i) => s + f(v - b.data[i]!), 0) / a.data.length) };
}

function total(x: Array64): number {
  return x.data.reduce((s, v) => s + v, 0);
}

for (const shape of shapes) {
  const gradients = shape[0]! > 100000 ? [] : ["a", "b"];
  test(`mseLoss [${shape.join(",")}]`, async () => {
    const inputs = { a: { shape }, b: { shape } };
    await checkOp({
      name: "mse-loss",
      inputs,
      build: (g, v) => mseLoss(g, v.a!, v.b!),
      reference: (r) => mean64(r.a!, r.b!, (d) => d * d),
      gradients,
    });
  });
  test(`l1Loss [${shape.join(",")}]`, async () => {
    // Differences of at least a hundredth: next to zero a finite difference would step over the corner.
    const count = shape.reduce((p, q) => p * q, 1);
    const b = Array.from({ length: count }, () => Math.random());
    const a = b.map((v) => v + (Math.random() < 0.5 ? -1 : 1) * (0.01 + Math.random()));
    const inputs = { a: { shape, data: a }, b: { shape, data: b } };
    await checkOp({
      name: "l1-loss",
      inputs,
      build: (g, v) => l1Loss(g, v.a!, v.b!),
      reference: (r) => mean64(r.a!, r.b!, Math.abs),
      gradients,
    });
  });
  test(`sum and mean [${shape.join(",")}]`, async () => {
    // Positive numbers: a sum that cancels has no relative error to speak of.
    const inputs = { x: { shape, data: Array.from({ length: shape.reduce((p, q) => p * q, 1) }, () => 1 + Math.random()) } };
    await checkOp({
      name: "sum",
      inputs,
      build: (g, v) => sum(g, v.x!, -2.5),
      reference: ({ x }) => ({ shape: [1], data: Float64Array.of(-2.5 * total(x!)) }),
      gradients: gradients.length ? ["x"] : [],
    });
    await checkOp({
      name: "mean",
      inputs,
      build: (g, v) => sum(g, v.x!, 1 / elementCount(v.x!.type.shape)),
      reference: ({ x }) => ({ shape: [1], data: Float64Array.of(total(x!) / x!.data.length) }),
      gradients: gradients.length ? ["x"] : [],
    });
  });
}

test("l1Loss has derivative 0 where prediction and target are equal", async () => {
  const inputs = { a: { shape: [5], data: [0, 0, 0, 0, 0] }, b: { shape: [5], data: [0, 0, 0, 0, 0] } };
  // Central differences of |d| at 0 are 0 as well (exactly so only around 0, where both steps round alike).
  await checkOp({
    name: "l1Loss at ties",
    inputs,
    build: (g, v) => l1Loss(g, v.a!, v.b!),
    reference: (r) => mean64(r.a!, r.b!, Math.abs),
    gradients: ["a", "b"],
  });
});

test("shape rules name the op, the tensor and the shapes", () => {
  assert.throws(
    () => placedKernel(mseLossKernel).infer([f32([2, 3]), f32([3])], {}),
    /mse-loss: prediction f32\[2,3\] and target f32\[3\] must have one shape/,
  );
  assert.throws(
    () => placedKernel(mseLossKernel).infer([f32([2, 3]), { shape: [2, 3], dtype: "u32" }], {}),
    /mse-loss: input "target" must be f32, got u32\[2,3\]/,
  );
});

finish();
