import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ActivationKind, activation } from "../../kernels/activation.ts";
import { type Broadcast, broadcastAdd, broadcastAddKernel, broadcastTo, sumRows } from "../../kernels/broadcast.ts";
import { add, addKernel, multiply, scale } from "../../kernels/elementwise.ts";
import { geglu, gegluKernel } from "../../kernels/geglu.ts";
import { f32 } from "../../kernels/kernel.ts";
import { linearCombination, linearCombinationKernel } from "../../kernels/linear-combination.ts";
import { placedKernel } from "../../kernels/placed-kernel.ts";
import { type Array64, checkOp, normals } from "../support/op-test.ts";
import { finish } from "../support/device.ts";
import { activations, geglu64, map64 } from "../../engine/verify/self-test/reference/norm.ts";

function size(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

const shapes = [[1], [3, 37, 5], [2, 7, 11, 20]];

for (const kind of Object.keys(activations) as ActivationKind[]) {
  for (const shape of shapes) {
    test(`${kind} [${shape.join(",")}]`, async () => {
      await checkOp({
        name: kind,
        // A lone number stays near zero: far out in gelu's tail a rounded exponent alone shows at 1e-5 relative.
        // Not within a thousandth of zero, where a finite difference would step over relu's corner.
        inputs: { x: { shape, data: normals(size(shape), size(shape) === 1 ? 1 : 3).map((v) => v + (v < 0 ? -1e-3 : 1e-3)) } },
        build: (g, v) => activation(g, v.x!, kind),
        reference: ({ x }) => map64(x!, activations[kind]),
        gradients: ["x"],
      });
    });
  }
  test(`${kind} far from zero`, async () => {
    // The tails one by one: in one norm the large values would hide the small.
    for (const at of [-1e30, -200, -90, -12, -6, -3, -1e-3, 1e-6, 3, 12, 90, 1e30]) {
      const exact = activations[kind](at);
      const tiny = Math.abs(exact) < 1e-30 || (kind === "gelu" && at < -5); // float64's own 1 - erf has no digits left there
      await checkOp({
        name: `${kind}(${at})`,
        inputs: { x: { shape: [1], data: [at] } },
        build: (g, v) => activation(g, v.x!, kind),
        reference: ({ x }) => (tiny ? { shape: [1], data: Float64Array.of(0) } : map64(x!, activations[kind])),
        forwardTolerance: 1e-5,
      });
    }
  });
}

test("add, multiply, scale", async () => {
  for (const shape of shapes) {
    const inputs = { a: { shape }, b: { shape } };
    await checkOp({
      name: "add",
      inputs,
      build: (g, v) => add(g, v.a!, v.b!),
      reference: ({ a, b }) => map64(a!, (x, i) => x + b!.data[i]!),
      gradients: ["a", "b"],
    });
    await checkOp({
      name: "multiply",
      inputs,
      build: (g, v) => multiply(g, v.a!, v.b!),
      reference: ({ a, b }) => map64(a!, (x, i) => x * b!.data[i]!),
      gradients: ["a", "b"],
    });
    await checkOp({
      name: "scale",
      inputs: { a: { shape } },
      build: (g, v) => scale(g, v.a!, -0.18215),
      reference: ({ a }) => map64(a!, (x) => x * -0.18215),
      gradients: ["a"],
    });
  }
  await checkOp({
    name: "square",
    inputs: { a: { shape: [5, 7] } },
    build: (g, v) => multiply(g, v.a!, v.a!),
    reference: ({ a }) => map64(a!, (x) => x * x),
    gradients: ["a"],
  });
});

/** The element of the smaller tensor that meets element i of the larger. */
function partner(i: number, large: readonly number[], small: readonly number[], over: Broadcast): number {
  if (over === "leading") return i % size(small);
  return Math.floor(i / size(large.slice(1))) * large.at(-1)! + (i % large.at(-1)!);
}

function sum64(x: Array64, small: readonly number[], over: Broadcast): Array64 {
  const data = new Float64Array(size(small));
  x.data.forEach((v, i) => (data[partner(i, x.shape, small, over)]! += v));
  return { shape: small, data };
}

const broadcasts: { x: number[]; b: number[]; over: Broadcast }[] = [
  { x: [3, 37, 20], b: [37, 20], over: "leading" },
  { x: [3, 37, 20], b: [20], over: "leading" },
  { x: [3, 5, 7], b: [5, 7], over: "leading" },
  { x: [2, 3, 5, 7], b: [7], over: "leading" },
  { x: [300, 3], b: [3], over: "leading" },
  { x: [3, 5], b: [3, 5], over: "leading" },
  { x: [3, 4, 5], b: [1], over: "leading" },
  { x: [2, 6, 5, 20], b: [2, 20], over: "middle" },
  { x: [3, 9, 11, 5], b: [3, 5], over: "middle" },
  { x: [3, 5], b: [3, 5], over: "middle" },
];
for (const { x, b, over } of broadcasts) {
  test(`broadcastAdd, broadcastTo and sumRows: [${x.join(",")}] with [${b.join(",")}] over the ${over} dimensions`, async () => {
    await checkOp({
      name: "broadcast-add",
      inputs: { x: { shape: x }, b: { shape: b } },
      build: (g, v) => broadcastAdd(g, v.x!, v.b!, over),
      reference: (r) => map64(r.x!, (value, i) => value + r.b!.data[partner(i, x, b, over)]!),
      gradients: ["x", "b"],
    });
    // About 1 and not about 0: of a sum that cancels, relative error says nothing.
    const terms = normals(x.reduce((p, q) => p * q, 1), 0.3).map((v) => v + 1);
    await checkOp({
      name: "sum-rows",
      inputs: { x: { shape: x, data: terms } },
      build: (g, v) => sumRows(g, v.x!, b, over),
      reference: (r) => sum64(r.x!, b, over),
      gradients: ["x"],
    });
    await checkOp({
      name: "broadcast-to",
      inputs: { b: { shape: b } },
      build: (g, v) => broadcastTo(g, v.b!, x, over),
      reference: (r) => ({ shape: x, data: Float64Array.from({ length: size(x) }, (_, i) => r.b!.data[partner(i, x, b, over)]!) }),
      gradients: ["b"],
    });
  });
}

for (let terms = 1; terms <= 6; terms++) {
  // Sums are whole 32nds and the bounds lie between them, so that no finite difference steps over a corner.
  for (const clamp of [undefined, [-45 / 64, 57 / 64] as const]) {
    test(`linearCombination of ${terms}${clamp ? ", clamped" : ""}`, async () => {
      const names = Array.from({ length: terms }, (_, i) => `x${i}`);
      await checkOp({
        name: `linearCombination of ${terms}`,
        inputs: {
          coefficients: { shape: [terms], data: normals(terms).map((v) => Math.round(v * 4) / 4) },
          ...Object.fromEntries(names.map((n) => [n, { shape: [3, 7, 5], data: normals(105).map((v) => Math.round(v * 8) / 8) }])),
        },
        build: (g, v) => linearCombination(g, v.coefficients!, names.map((n) => v[n]!), clamp ? { clamp } : {}),
        reference: (r) =>
          map64(r.x0!, (_, i) => {
            const sum = names.reduce((s, n, k) => s + r.coefficients!.data[k]! * r[n]!.data[i]!, 0);
            return clamp ? Math.min(Math.max(sum, clamp[0]), clamp[1]) : sum;
          }),
        gradients: names,
      });
    });
  }
}

for (const shape of [[3, 37, 40], [2, 5, 6], [1, 2], [301, 8], [130, 96], [7, 61, 44]]) {
  test(`geglu [${shape.join(",")}]`, async () => {
    await checkOp({
      name: "geglu",
      inputs: { x: { shape, scale: 2 } },
      build: (g, v) => geglu(g, v.x!),
      reference: ({ x }) => geglu64(x!),
      gradients: ["x"],
    });
  });
}

test("shape rules name the op, the tensor and the shapes", () => {
  assert.throws(() => placedKernel(addKernel).infer([f32([2, 3]), f32([3])], {}), /add: a f32\[2,3\] and b f32\[3\] must have one shape/);
  assert.throws(
    () => placedKernel(broadcastAddKernel).infer([f32([2, 4, 4, 3]), f32([2, 3])], { over: "leading" }),
    /broadcast-add: f32\[2,3\] cannot be repeated over the leading dimensions of f32\[2,4,4,3\].*"middle"/,
  );
  assert.throws(() => placedKernel(gegluKernel).infer([f32([2, 3])], {}), /geglu: the last dimension must be even/);
  assert.throws(
    () => placedKernel(linearCombinationKernel).infer([f32([2]), f32([3])], {}),
    /linear-combination: 1 terms need coefficients of shape \[1\], got f32\[2\]/,
  );
  assert.throws(
    () => placedKernel(linearCombinationKernel).infer([f32([7]), ...Array.from({ length: 7 }, () => f32([3]))], {}),
    /takes 1 to 6 terms, got 7/,
  );
});

finish();
