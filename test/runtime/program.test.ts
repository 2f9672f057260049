import { test } from "uvu";
import * as assert from "uvu/assert";
import { attention } from "../../kernels/attention.ts";
import { add, multiply, scale } from "../../kernels/elementwise.ts";
import { silu } from "../../kernels/activation.ts";
import { type Kernel, type NoAttributes, PANEL, type Value, f32 } from "../../kernels/kernel.ts";
import { matmul } from "../../kernels/matmul.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { pointwise } from "../../kernels/pointwise.ts";
import { packHalves, relayout } from "../../engine/nn/weight-layout.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { Program } from "../../engine/runtime/program.ts";
import { Profile, profileByKernel } from "../../engine/runtime/profile/profile.ts";
import { Profiler } from "../../engine/runtime/profile/profiler.ts";
import { Tensor } from "../../engine/runtime/tensor.ts";
import { finish, testDevice } from "../support/device.ts";
import { normals, relativeError } from "../support/op-test.ts";
import scaleWgsl from "../../shaders/scale.wgsl";

/** Ten residual blocks, so that there is memory to share and to recompute. */
function deep(g: Graph, x: Value): Value {
  let h = x;
  for (let i = 0; i < 10; i++) {
    const w = g.parameter(`w${i}`, f32([24, 24]));
    const before = h;
    h = g.scope(`blocks.${i}`, () => g.recompute(() => add(g, before, silu(g, matmul(g, silu(g, matmul(g, before, w)), w)))));
  }
  return h;
}

const weights = new Map<string, Float32Array<ArrayBuffer>>();
for (let i = 0; i < 10; i++) weights.set(`w${i}`, normals(24 * 24, 0.2));
const x = normals(2 * 24);
const target = normals(2 * 24);

async function runDeep(
  device: Awaited<ReturnType<typeof testDevice>>,
  recomputes: boolean,
): Promise<{ loss: number; gradient: Float32Array; bytes: number }> {
  const g = new Graph(recomputes);
  const input = g.input("x", f32([2, 24]));
  const loss = mseLoss(g, deep(g, input), g.input("target", f32([2, 24])));
  const [gradient] = gradients(g, loss, [input]);
  const tensors: Tensor[] = [];
  const program = await Program.create(device, g, {
    outputs: { loss, gradient: gradient! },
    parameters: (name, type) => {
      const t = new Tensor(device, name, type).write(weights.get(name)!);
      tensors.push(t);
      return t;
    },
    poison: true,
  });
  await program.run({ x, target });
  const read = await program.read("loss", "gradient");
  const bytes = program.allocatedBytes;
  program.destroy();
  for (const t of tensors) t.destroy();
  return { loss: read["loss"]![0]!, gradient: read["gradient"] as Float32Array, bytes };
}

test("operations are counted run by run", async () => {
  const device = await testDevice();
  const g = new Graph();
  const y = matmul(g, g.input("a", f32([5, 12])), g.input("b", f32([12, 8])));
  const program = await Program.create(device, g, { outputs: { y } });
  assert.is(program.flops, 2 * 5 * 12 * 8);
  const before = device.usage.flops;
  for (let i = 0; i < 3; i++) await program.run({ a: normals(5 * 12), b: normals(12 * 8) });
  assert.is(device.usage.flops - before, 3 * program.flops);
  await program.read();
  program.destroy();
});

test("callers that share a program at the same time each get their own run's outputs", async () => {
  const g = new Graph();
  const input = g.input("x", f32([4]));
  const program = await Program.create(await testDevice(), g, { outputs: { twice: scale(g, input, 2), x3: scale(g, input, 3) } });
  const asked = [1, 5, -2, 7].map((n) => program.compute({ x: new Float32Array(4).fill(n) }, "twice"));
  assert.equal(
    (await Promise.all(asked)).map(({ twice }) => twice![0]),
    [2, 10, -4, 14],
  );
  const [a, b] = await Promise.all([
    program.computeFloats({ x: new Float32Array(4).fill(1) }, "x3"),
    program.compute({ x: new Float32Array(4).fill(2) }),
  ]);
  assert.equal([a![0], b!["twice"]![0], b!["x3"]![0]], [3, 4, 6]);
  await program.compute({}, "attic").then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /no output "attic"/));
  program.destroy();
});

test("sharing memory changes no bit and saves memory", async () => {
  const shared = await runDeep(await testDevice(), false);
  const apart = await openDevice({ ...(process.env.LETHE_ADAPTER && { adapter: process.env.LETHE_ADAPTER }), bufferSharing: false });
  const unshared = await runDeep(apart, false);
  apart.destroy();
  assert.is(shared.loss, unshared.loss);
  assert.equal(shared.gradient, unshared.gradient);
  assert.ok(shared.bytes < unshared.bytes, `${shared.bytes} bytes shared, ${unshared.bytes} apart`);
});

test("recomputing changes no bit and keeps less", async () => {
  const device = await testDevice();
  const kept = await runDeep(device, false);
  const again = await runDeep(device, true);
  assert.is(again.loss, kept.loss);
  assert.equal(again.gradient, kept.gradient);
});

test("state is carried from run to run by assignment, on the device", async () => {
  const device = await testDevice();
  const state = new Tensor(device, "state", f32([5])).write(Float32Array.of(1, 2, 3, 4, 5));
  const g = new Graph();
  const program = await Program.create(device, g, { outputs: {}, assigns: [[state, scale(g, g.tensor(state), 2)]], poison: true });
  for (let i = 0; i < 4; i++) await program.run();
  assert.equal([...(await state.read())], [16, 32, 48, 64, 80]);
  program.destroy();
  state.destroy();
});

test("poison shows an element that no shader writes", async () => {
  const lazy: Kernel<NoAttributes, "x"> = {
    name: "lazy",
    inputs: { x: {} },
    infer: (inputs) => ({ y: inputs.x }),
    plan: () => ({
      dispatches: [pointwise({ name: "scale", text: scaleWgsl }, { count: 1, factor: 1 })],
    }),
  };
  const device = await testDevice();
  const g = new Graph();
  const { y } = g.apply(lazy, { x: g.input("x", f32([8])) }, {});
  const program = await Program.create(device, g, { outputs: { y }, poison: true });
  await program.run({ x: new Float32Array(8).fill(1) });
  assert.equal([...(await program.readFloats("y"))].map(Number.isNaN), [false, false, false, false, true, true, true, true]);
  program.destroy();
});

test("wrong inputs, unknown names and unbound parameters say what is wrong", async () => {
  const device = await testDevice();
  const g = new Graph();
  const y = multiply(g, g.input("x", f32([3])), g.parameter("w", f32([3])));
  try {
    await Program.create(device, g, { outputs: { y } });
    assert.unreachable();
  } catch (e) {
    assert.match((e as Error).message, /parameter "w" has no source/);
  }
  const w = new Tensor(device, "w", f32([3])).write(Float32Array.of(1, 2, 3));
  const program = await Program.create(device, g, { outputs: { y }, parameters: () => w });
  await rejects(program.run({ z: new Float32Array(3) }), /no input "z"; inputs are x/);
  await rejects(program.run({ x: new Float32Array(4) }), /"x".*takes 3 floats, got 4/);
  await rejects(program.run({ x: new Uint32Array(3) }), /takes 3 floats, got 3 words/);
  program.destroy();
  w.destroy();
});

for (const [k, n] of [[20, 12], [8, 36], [36, 64], [64, 96]] as const) {
  for (const dtype of ["f32", "f16"] as const) {
    const described = `${k} x ${n}, ${dtype}${n % PANEL === 0 ? " in panels" : ""}`;
    test(`a stored weight ${described}, and its transpose multiply as the numbers stored do`, async () => {
      const device = await testDevice();
      const exact = normals(n * k); // [out, in], as a checkpoint has it
      const panels = n % PANEL === 0;
      const packed = relayout(exact, [n, k], "linear", panels);
      const weight = new Tensor(device, "weight", { shape: [k, n], dtype, layout: panels ? "panels" : "rows" }).write(
        dtype === "f16" ? packHalves(packed) : packed,
      );
      const stored = dtype === "f16" ? Float32Array.from(exact, toHalf) : exact;
      const a = normals(7 * k);
      const g = new Graph();
      const input = g.input("a", f32([7, k]));
      const product = matmul(g, input, g.tensor(weight));
      const program = await Program.create(device, g, {
        outputs: { y: product, t: matmul(g, product, g.tensor(weight), { transposeB: true }) },
        poison: true,
      });
      await program.run({ a });
      const y = Float64Array.from({ length: 7 * n }, (_, i) => sum(k, (l) => a[Math.floor(i / n) * k + l]! * stored[(i % n) * k + l]!));
      assert.ok(relativeError(await program.readFloats("y"), y) < 1e-6);
      const t = Float64Array.from({ length: 7 * k }, (_, i) => sum(n, (l) => y[Math.floor(i / k) * n + l]! * stored[l * k + (i % k)]!));
      assert.ok(relativeError(await program.readFloats("t"), t) < 1e-6);
      program.destroy();
      weight.destroy();
    });
  }
}

test("a profile has a row per dispatch with its op's name", async () => {
  const device = await testDevice();
  if (!device.features.includes("timestamp-query")) return assert.throws(() => new Profile(device), /no timestamps/);
  const g = new Graph();
  const y = g.scope("a.b", () => scale(g, matmul(g, g.input("x", f32([16, 16])), g.input("w", f32([16, 16]))), 2));
  const program = await Program.create(device, g, { outputs: { y } });
  const profile = new Profile(device);
  await program.run({ x: normals(256), w: normals(256) }, { profile });
  const rows = await profile.rows();
  assert.equal(rows.map((r) => [r.kernel, r.name]), [["matmul", "a.b.matmul"], ["scale", "a.b.scale"]]);
  assert.is(rows[0]!.flops, 2 * 16 ** 3);
  assert.ok(rows.every((r) => r.milliseconds >= 0));
  assert.is(profileByKernel(rows).length, 2);
  program.destroy();
});

test("an op's cost is shared out over its dispatches", async () => {
  const device = await testDevice();
  if (!device.features.includes("timestamp-query")) return;
  const g = new Graph();
  const input = g.input("x", f32([1, 16, 32]));
  const y = attention(g, input, input, input, { heads: 2 });
  const [gradient] = gradients(g, mseLoss(g, y, g.input("target", y.type)), [input]);
  const program = await Program.create(device, g, { outputs: { gradient: gradient! } });
  const profile = new Profile(device);
  await program.run({ x: normals(512), target: normals(512) }, { profile });
  const rows = (await profile.rows()).filter((r) => r.kernel.startsWith("attention-gradient"));
  const pairs = 2 * 16 * 16;
  assert.equal(rows.map((r) => r.kernel), ["attention-gradient-delta", "attention-gradient-query", "attention-gradient-key-value"]);
  assert.ok(Math.abs(sum(3, (i) => rows[i]!.flops) - (14 * pairs * 16 + 2 * 512)) < 1e-6);
  assert.ok(rows.every((r) => Math.abs(r.flops * rows[0]!.milliseconds - rows[0]!.flops * r.milliseconds) < 1e-6 * r.flops));
  program.destroy();
});

test("programs of one label are profiled apart", async () => {
  const device = await testDevice();
  if (!device.features.includes("timestamp-query")) return;
  const make = async (twice: boolean): Promise<Program> => {
    const g = new Graph();
    const y = scale(g, g.input("x", f32([16])), 2);
    return Program.create(device, g, { label: "same", outputs: { y: twice ? multiply(g, y, y) : y } });
  };
  const programs = [await make(false), await make(true)];
  const profiler = new Profiler(device).start();
  for (const program of [...programs, ...programs]) await program.run({ x: normals(16) });
  profiler.stop();
  const report = await profiler.report();
  assert.equal(
    report.programs.map((p) => [p.program, p.runs, p.rows.map((r) => r.kernel)]),
    [
      ["same", 2, ["scale"]],
      ["same", 2, ["scale", "multiply"]],
    ],
  );
  for (const program of programs) program.destroy();
});

async function rejects(run: Promise<void>, pattern: RegExp): Promise<void> {
  const error = await run.then(() => undefined, (e: Error) => e);
  assert.match(error?.message ?? "no error", pattern);
}

function sum(count: number, f: (i: number) => number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += f(i);
  return total;
}

/** Rounds to the nearest half through its ten-bit fraction; for numbers that are neither tiny nor huge. */
function toHalf(value: number): number {
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  const unit = 2 ** (Math.max(exponent, -14) - 10);
  const scaled = value / unit;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  return unit * (rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor);
}

finish();
