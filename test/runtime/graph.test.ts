import { test } from "uvu";
import * as assert from "uvu/assert";
import { add, multiply, scale } from "../../kernels/elementwise.ts";
import { type Kernel, ShapeError, f32, need } from "../../kernels/kernel.ts";
import { matmul } from "../../kernels/matmul.ts";
import { mseLoss } from "../../kernels/loss.ts";
import { reshape } from "../../kernels/reshape.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { makeSchedule } from "../../engine/runtime/plan/schedule.ts";

const CAPABILITIES = {
  subgroupSize: 0,
  software: true,
  shaderF16: false,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBufferBindingSize: 2 ** 27,
};

test("values are named by module path and captured under it", () => {
  const g = new Graph();
  const x = g.input("x", f32([2, 4]));
  const y = g.scope("block.0", () => g.scope("to_k", () => matmul(g, x, g.parameter("w", f32([4, 8])))));
  assert.is(y.name, "block.0.to_k.matmul");
  assert.is(g.captured.get("block.0.to_k"), y);
  assert.is(g.captured.get("block.0"), y);
});

test("a shape error names the op, the module, the tensors and both shapes", () => {
  const g = new Graph();
  const x = g.input("x", f32([2, 4]));
  const w = g.parameter("w", f32([5, 8]));
  assert.throws(
    () => g.scope("mid.to_q", () => matmul(g, x, w)),
    (e: Error) => e instanceof ShapeError && ["matmul", "mid.to_q", "x: f32[2,4]", "w: f32[5,8]"].every((t) => e.message.includes(t)),
  );
});

test("a leaf asked for twice is one leaf; with another type it is refused", () => {
  const g = new Graph();
  assert.is(g.parameter("w", f32([4])), g.parameter("w", f32([4])));
  assert.throws(() => g.parameter("w", f32([5])), /"w".*f32\[5\].*f32\[4\]/);
});

test("the gradient visits only what lies between the loss and the wanted input", () => {
  const g = new Graph();
  const x = g.input("x", f32([3]));
  const off = g.scope("off", () => multiply(g, g.input("other", f32([3])), g.input("more", f32([3]))));
  const y = g.scope("on", () => multiply(g, scale(g, x, 2), off));
  const before = g.nodes.length;
  gradients(g, y, [x], g.input("seed", f32([3])));
  const recorded = g.nodes.slice(before).map((n) => n.name);
  assert.ok(recorded.some((n) => n.startsWith("gradient.on")));
  assert.not(recorded.some((n) => n.includes("off")));
});

test("gradients of several uses are summed by the products that make them, where they can", () => {
  const g = new Graph();
  const x = g.input("x", f32([2, 4]));
  const y = add(g, matmul(g, x, g.parameter("a", f32([4, 8]))), matmul(g, x, g.parameter("b", f32([4, 8]))));
  const before = g.nodes.length;
  const [dx] = gradients(g, y, [x], g.input("seed", f32([2, 8])));
  const needed = makeSchedule(g, [dx!], CAPABILITIES).steps.map((s) => s.node).filter((n) => n.id >= before);
  assert.equal(needed.map((n) => n.kernel!.name), ["matmul", "matmul"]);
  assert.is(needed[1]!.inputs[4], needed[0]!.outputs[0]);
});

test("what the loss does not depend on has no gradient", () => {
  const g = new Graph();
  const [x, y] = [g.input("x", f32([3])), g.input("y", f32([3]))];
  const [dx, dy] = gradients(g, mseLoss(g, x, g.input("target", f32([3]))), [x, y]);
  assert.ok(dx);
  assert.is(dy, undefined);
});

test("an op without a gradient rule is named", () => {
  const opaque: Kernel<Record<string, never>> = { name: "opaque", infer: (inputs) => [need("opaque", inputs, 0, "x")] };
  const g = new Graph();
  const x = g.input("x", f32([1]));
  const y = g.scope("here", () => g.apply(opaque, [x], {})[0]!);
  assert.throws(() => gradients(g, y, [x]), /"opaque".*here\.opaque.*no gradient rule/);
});

test("a loss that is no scalar needs a seed, of its shape", () => {
  const g = new Graph();
  const x = g.input("x", f32([3]));
  const y = scale(g, x, 2);
  assert.throws(() => gradients(g, y, [x]), /not a scalar/);
  assert.throws(() => gradients(g, y, [x], g.input("seed", f32([4]))), /seed is f32\[4\]/);
});

test("a schedule leaves out what its outputs do not need, and views have no step", () => {
  const g = new Graph();
  const x = g.input("x", f32([2, 6]));
  scale(g, x, 3);
  const y = add(g, reshape(g, scale(g, x, 2), [12]), g.input("b", f32([12])));
  const schedule = makeSchedule(g, [reshape(g, y, [3, 4])], CAPABILITIES);
  assert.equal(schedule.steps.map((s) => s.node.name), ["scale", "add"]);
  // The scaled tensor is read through its view at step 1; the sum is the output, seen through a view, and has memory of its own.
  assert.equal(schedule.claims.map((c) => [c.writes, c.reads]), [[[0], [1]]]);
  assert.equal(schedule.kept.map((v) => v.name), ["add"]);
});

test("recompute regions are recorded again for the gradient, once, and only when asked for", () => {
  const record = (recomputes: boolean): { names: string[]; copies: number } => {
    const g = new Graph(recomputes);
    const x = g.input("x", f32([3]));
    const y = g.scope("block", () => g.recompute(() => multiply(g, scale(g, x, 2), scale(g, x, 3))));
    gradients(g, y, [x], g.input("seed", f32([3])));
    const names = g.nodes.map((n) => n.name);
    return { names, copies: names.filter((n) => n.startsWith("recompute.")).length };
  };
  assert.is(record(false).copies, 0);
  assert.is(record(true).copies, 3);
});

test.run();
