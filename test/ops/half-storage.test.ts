// Tensors between ops stored as f16: every op that can, against float64, and what stays f32.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { add, scale } from "../../kernels/elementwise.ts";
import { groupNorm } from "../../kernels/group-norm.ts";
import { type Capabilities, type Value, byteLength, f32 } from "../../kernels/kernel.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { matmul } from "../../kernels/matmul.ts";
import { linearWeightGradient } from "../../kernels/weight-gradient.ts";
import { hashNumbers } from "../../engine/loading/synthetic.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { checkBindings, makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import { Program } from "../../engine/runtime/program.ts";
import { relativeError } from "../../engine/runtime/relative-error.ts";
import { runOpSpec, withHalfTensors } from "../../engine/verify/self-test/op-check.ts";
import { SELF_TESTS } from "../../engine/verify/self-test/index.ts";
import { finish, halfDevice } from "../support/device.ts";

/** Ops that a diffusion model's activations go through. */
const OPS = [
  "add", "attention", "attention-gradient", "concat", "conv2d", "conv2d-gradient",
  "group-norm", "group-norm-gradient", "layer-norm", "layer-norm-gradient", "matmul", "matmul-geglu",
  "matmul-geglu-gradient", "scale", "slice", "upsample", "upsample-gradient",
];

test("every op that stores f16, against float64", async () => {
  const device = await halfDevice();
  if (!device) return;
  const seen = new Set<string>();
  const wrong: string[] = [];
  for (const spec of SELF_TESTS) {
    const halves = withHalfTensors(spec, device);
    if (!halves) continue;
    const { comparisons, kernels } = await runOpSpec(device, halves);
    for (const name of kernels) seen.add(name);
    for (const c of comparisons) if (!(c.error <= c.tolerance)) wrong.push(`${halves.name}, ${c.tensor}: ${c.error}; ${c.worst}`);
  }
  assert.equal(wrong, []);
  assert.equal(OPS.filter((op) => !seen.has(op)), [], "ops that were not run with f16 tensors");
});

const DEVICE: Capabilities = {
  subgroupSize: 0,
  software: false,
  shaderF16: true,
  halfActivations: true,
  maxComputeWorkgroupStorageSize: 16_384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBufferBindingSize: 2 ** 27,
};

/** Names of what a graph stores as f16. */
function halvesOf(g: Graph, outputs: readonly Value[], capabilities = DEVICE): string[] {
  return [...makeSchedule(g, outputs, capabilities).halves].map((v) => v.name);
}

const input = (g: Graph, name: string, ...shape: number[]): Value => g.input(name, f32(shape));

test("what lies between two ops is stored as f16, what goes in or out is not", () => {
  const g = new Graph();
  const hidden = g.scope("first", () => matmul(g, input(g, "x", 8, 8), input(g, "w", 8, 8)));
  const y = g.scope("second", () => groupNorm(g, hidden, input(g, "gamma", 8), input(g, "beta", 8), { groups: 2, epsilon: 1e-5 }));
  assert.equal(halvesOf(g, [y]), ["first.matmul"]);
  assert.equal(halvesOf(g, [y, hidden]), []);
  assert.equal(halvesOf(g, [y], { ...DEVICE, halfActivations: false }), []);
  const bytes = (capabilities: Capabilities): number => makeSchedule(g, [y], capabilities).claims[0]!.bytes;
  assert.is(bytes(DEVICE), byteLength(hidden.type) / 2);
});

test("a tensor stored as f16 is bound as such: what is too large as f32 is not refused", () => {
  const g = new Graph();
  const wide = g.scope("first", () => matmul(g, input(g, "x", 64, 8), input(g, "w", 8, 96)));
  const y = g.scope("second", () => matmul(g, wide, input(g, "v", 96, 4)));
  const limit = { ...DEVICE, maxStorageBufferBindingSize: (64 * 96 * 4) / 2 };
  checkBindings(makeSchedule(g, [y], limit), limit);
  const whole = makeSchedule(g, [y], { ...limit, halfActivations: false });
  assert.throws(() => checkBindings(whole, limit), /first\.matmul.* is f32\[64,96\], 24576 bytes/);
});

test("what a loss reads, and the loss, stay f32", () => {
  const g = new Graph();
  const product = matmul(g, input(g, "x", 8, 8), input(g, "w", 8, 8));
  assert.equal(halvesOf(g, [scale(g, mseLoss(g, product, input(g, "target", 8, 8)), 3)]), []);
});

test("what is computed with f32 operands stays f32, and so does a graph that hands its rounding on", () => {
  const g = new Graph();
  const x = input(g, "x", 8, 8);
  const hidden = scale(g, scale(g, x, 2), 3);
  const exact = g.precise(() => scale(g, scale(g, hidden, 4), 5));
  const y = add(g, exact, x);
  assert.is(halvesOf(g, [y]).length, 1, "the first product alone: the second is read by what is exact");
  g.storesHalves = false;
  assert.equal(halvesOf(g, [y]), []);
});

test("the gradient of what is computed with f32 operands is too, also where it is computed again", () => {
  for (const recomputes of [false, true]) {
    const g = new Graph(recomputes);
    const [x, w] = [input(g, "x", 8, 8), input(g, "w", 8, 8)];
    const layer = (from: Value): Value => add(g, scale(g, matmul(g, from, w), 2), from);
    const exact = g.precise(() => g.recompute(() => layer(layer(x))));
    const loss = mseLoss(g, layer(exact), input(g, "target", 8, 8));
    const until = g.nodes.length;
    gradients(g, loss, [x]);
    const products = g.nodes.slice(until).filter((n) => n.kernel?.name === "matmul");
    // Each is recorded twice: alone, and with what else comes to its input as an addend.
    const own = new Array<boolean>(recomputes ? 6 : 4).fill(true);
    assert.equal(products.map((n) => n.precise === true), [false, false, ...own]);
  }
});

test("with f16 operands numbers beyond f16's range pass through what is precise, and back", async () => {
  const device = await halfDevice();
  if (!device) return;
  const data = (name: string, std: number): Float32Array<ArrayBuffer> => hashNumbers(name, 32 * 32, 0, std);
  const [x, w, target] = [data("x", 1e-5), data("w", 1e6), data("target", 1)];
  const g = new Graph();
  const [from, weights] = [input(g, "x", 32, 32), input(g, "w", 32, 32)];
  const loss = mseLoss(g, g.precise(() => matmul(g, from, weights)), input(g, "target", 32, 32));
  const [gradient] = gradients(g, loss, [from]);
  const program = await Program.create(device, g, { outputs: { gradient: gradient! } });
  const own = await program.computeFloats({ x, w, target }, "gradient");
  const product = (a: ArrayLike<number>, b: (k: number, j: number) => number): number[] => Array.from({ length: 32 * 32 }, (_, at) => {
    const [i, j] = [Math.floor(at / 32), at % 32];
    let sum = 0;
    for (let k = 0; k < 32; k++) sum += a[i * 32 + k]! * b(k, j);
    return sum;
  });
  const slope = product(x, (k, j) => w[k * 32 + j]!).map((y, i) => (2 * (y - target[i]!)) / 1024);
  assert.ok(relativeError(own, Float32Array.from(product(slope, (k, j) => w[j * 32 + k]!))) < 1e-5);
});

test("a program that computes gradients of weights stores all as f32", () => {
  const g = new Graph();
  const [x, dy] = [input(g, "x", 8, 8), input(g, "dy", 8, 8)];
  const hidden = scale(g, scale(g, x, 2), 3);
  assert.is(halvesOf(g, [add(g, hidden, dy)]).length, 2);
  assert.equal(halvesOf(g, [add(g, hidden, dy), linearWeightGradient(g, x, dy)]), []);
});

finish();
