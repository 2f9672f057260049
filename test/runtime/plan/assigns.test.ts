import { test } from "uvu";
import * as assert from "uvu/assert";
import { ADAM_HYPERPARAMETERS, adam, adamHyperparameters } from "../../../kernels/adam.ts";
import { add, multiply, scale } from "../../../kernels/elementwise.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import { lerp } from "../../../kernels/lerp.ts";
import { matmul } from "../../../kernels/matmul.ts";
import { mseLoss } from "../../../kernels/loss.ts";
import { reshape } from "../../../kernels/reshape.ts";
import { gradients } from "../../../engine/runtime/autodiff.ts";
import { Graph } from "../../../engine/runtime/graph.ts";
import type { Assign } from "../../../engine/runtime/plan/assigns.ts";
import { estimateProgram } from "../../../engine/runtime/plan/estimate.ts";
import { makeSchedule } from "../../../engine/runtime/plan/schedule.ts";
import { Program } from "../../../engine/runtime/program.ts";
import { Tensor } from "../../../engine/runtime/tensor.ts";
import { finish, testDevice } from "../../support/device.ts";
import { normals } from "../../support/op-test.ts";

const CAPABILITIES = {
  subgroupSize: 0, software: true, shaderF16: false,
  maxComputeWorkgroupStorageSize: 16384, maxComputeInvocationsPerWorkgroup: 256, maxStorageBufferBindingSize: 2 ** 27,
};
const VECTOR = f32([8]);

function leaf(g: Graph, name: string): Value {
  return g.parameter(name, VECTOR);
}

/** Which assigns of a graph are copied at the end, by the names of their targets. */
function copies(record: (g: Graph) => { assigns: readonly Assign[]; outputs?: readonly Value[] }): string[] {
  const g = new Graph();
  const { assigns, outputs = [] } = record(g);
  return makeSchedule(g, outputs, CAPABILITIES, assigns).assigns.copies.map(([target]) => target.name);
}

test("a value is computed in its target's memory unless something still reads what was there", () => {
  assert.equal(copies((g) => ({ assigns: [[leaf(g, "w"), scale(g, g.input("x", VECTOR), 2)]] })), [], "nothing reads it");
  assert.equal(copies((g) => ({ assigns: [[leaf(g, "w"), scale(g, scale(g, leaf(g, "w"), 2), 3)]] })), [], "it is read before");
  assert.equal(copies((g) => ({ assigns: [[leaf(g, "w"), add(g, leaf(g, "w"), g.input("x", VECTOR))]] })), [], "the op works in place");
  const second = copies((g) => ({ assigns: [[leaf(g, "w"), add(g, g.input("x", VECTOR), leaf(g, "w"))]] }));
  assert.equal(second, ["w"], "the op works in place in its first input only");
  assert.equal(copies((g) => ({ assigns: [[leaf(g, "w"), add(g, leaf(g, "w"), leaf(g, "w"))]] })), ["w"], "the op reads it twice");
  assert.equal(copies((g) => ({ assigns: [[leaf(g, "w"), scale(g, leaf(g, "w"), 2)]] })), ["w"], "the op does not work in place");
  assert.equal(copies((g) => {
    const next = add(g, leaf(g, "w"), g.input("x", VECTOR));
    return { assigns: [[leaf(g, "w"), next]], outputs: [multiply(g, leaf(g, "w"), next)] };
  }), ["w"], "it is read later");
  assert.equal(copies((g) => {
    const next = add(g, leaf(g, "w"), g.input("x", VECTOR));
    return { assigns: [[leaf(g, "w"), next]], outputs: [scale(g, reshape(g, leaf(g, "w"), [2, 4]), 3)] };
  }), ["w"], "it is read later through a view");
  assert.equal(copies((g) => {
    const next = scale(g, g.input("x", VECTOR), 2);
    return { assigns: [[leaf(g, "w"), next]], outputs: [next] };
  }), ["w"], "the value is an output, which keeps memory of its own");
  assert.equal(copies((g) => {
    const next = scale(g, g.input("x", VECTOR), 2);
    return { assigns: [[leaf(g, "v"), leaf(g, "w")], [leaf(g, "w"), next]] };
  }), ["v", "w"], "the old numbers are copied elsewhere at the end");
  assert.equal(copies((g) => {
    const next = scale(g, g.input("x", VECTOR), 2);
    return { assigns: [[leaf(g, "v"), next], [leaf(g, "w"), next]] };
  }), ["w"], "one value for two targets");
});

test("an op that updates several tensors does so in place for all or for none", () => {
  for (const [own, copied] of [[true, []], [false, ["m", "v"]]] as const) {
    const found = copies((g) => {
      const [p, m, v] = [leaf(g, "p"), leaf(g, "m"), leaf(g, "v")];
      const hyper = g.input("hyper", f32([ADAM_HYPERPARAMETERS]));
      const next = adam(g, { parameter: own ? p : scale(g, p, 1), m, v }, g.input("d", VECTOR), hyper);
      return { assigns: [[p, next.parameter], [m, next.m], [v, next.v]] };
    });
    assert.equal(found, [...copied]);
  }
});

test("a target assigned twice, or of another type, is refused", () => {
  const g = new Graph();
  const [x, w] = [g.input("x", VECTOR), g.parameter("w", VECTOR)];
  assert.throws(() => makeSchedule(g, [], CAPABILITIES, [[w, scale(g, x, 2)], [w, scale(g, x, 3)]]), /"w" is assigned twice/);
  const wide = scale(g, g.input("y", f32([2, 4])), 2);
  assert.throws(() => makeSchedule(g, [], CAPABILITIES, [[w, wide]]), /"w" is f32\[8\]; it cannot hold "scale", f32\[2,4\]/);
});

test("what is updated in place takes no memory of the program's", () => {
  const [apart, inPlace] = [false, true].map((assigned) => {
    const g = new Graph();
    const w = g.parameter("w", f32([1024]));
    const next = add(g, w, g.input("x", f32([1024])));
    const assigns: Assign[] = assigned ? [[w, next]] : [];
    const { ownBytes, buffers } = estimateProgram(g, { outputs: assigned ? {} : { next: next as Value }, assigns }, CAPABILITIES);
    return ownBytes + buffers.reduce((a, b) => a + b, 0);
  });
  assert.is(apart! - inPlace!, 4096);
});

test("in place and by copying, a training step gives the same bits", async () => {
  const device = await testDevice();
  const data = { w: normals(64), v: normals(64).map((x) => x * x), x: normals(24), target: normals(24), average: normals(64) };
  const results: Float32Array[][] = [];
  for (const inPlace of [true, false]) {
    const g = new Graph();
    const tensors = ["w", "m", "v", "average"].map((name) => new Tensor(device, name, f32([8, 8])));
    const [w, m, v, average] = tensors.map((t): Value => g.tensor(t)) as [Value, Value, Value, Value];
    tensors.forEach((t, i) => t.write(i === 1 ? new Float32Array(64) : data[t.name as "w" | "v" | "average"]));
    const loss = mseLoss(g, matmul(g, g.input("x", f32([3, 8])), w), g.input("target", f32([3, 8])));
    const [gradient] = gradients(g, loss, [w]);
    const next = adam(g, { parameter: w, m, v }, gradient!, g.input("hyper", f32([ADAM_HYPERPARAMETERS])), { decoupled: true });
    const values = [next.parameter, next.m, next.v, lerp(g, average, next.parameter, g.constant("t", [1], Float32Array.of(0.25)))];
    const assigns = tensors.map((t, i) => [t, values[i]!] as const);
    // As an output, a value has memory of its own and is copied.
    const outputs = inPlace ? {} : Object.fromEntries(values.map((x, i) => [`${i}`, x]));
    const program = await Program.create(device, g, { outputs, assigns, poison: true });
    for (let step = 1; step <= 3; step++) {
      await program.run({ x: data.x, target: data.target, hyper: adamHyperparameters({ lr: 0.1, weightDecay: 0.1 }, step) });
    }
    results.push((await Promise.all(tensors.map((t) => t.read()))) as Float32Array[]);
    program.destroy();
    for (const t of tensors) t.destroy();
  }
  assert.equal(results[0], results[1]);
  assert.ok(results[0]!.every((r) => r.every(Number.isFinite)));
});

test("two tensors of one name in a graph are refused", async () => {
  const device = await testDevice();
  const [a, b] = [new Tensor(device, "same", VECTOR), new Tensor(device, "same", VECTOR)];
  const g = new Graph();
  assert.is(g.tensor(a), g.tensor(a));
  assert.throws(() => g.tensor(b), /two tensors are called "same"/);
  for (const t of [a, b]) t.destroy();
});

finish();
