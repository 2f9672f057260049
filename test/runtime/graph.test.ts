import { test } from "uvu";
import * as assert from "uvu/assert";
import { add, multiply, scale } from "../../kernels/elementwise.ts";
import { silu } from "../../kernels/activation.ts";
import { type Kernel, type NoAttributes, ShapeError, type Value, f32, isInPanels } from "../../kernels/kernel.ts";
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
  assert.is(needed[1]!.inputs[3], needed[0]!.outputs[0]);
});

test("a gradient is handed over where it is complete, before what lies further down is differentiated", () => {
  const g = new Graph();
  const [first, second, unused] = ["first", "second", "unused"].map((name) => g.parameter(name, f32([4, 4])));
  const x = g.input("x", f32([2, 4]));
  const h = g.scope("down", () => matmul(g, x, first!));
  // The second weight is used twice: its gradient is complete only when the earlier use is differentiated.
  const y = g.scope("up", () => matmul(g, matmul(g, h, second!), second!));
  const order: string[] = [];
  const before = g.nodes.length;
  const found = gradients(g, y, [first!, second!, unused!], g.input("seed", f32([2, 4])), [], (gradient, i) => {
    assert.is(gradient, gradient.node.outputs[0]);
    order.push(["first", "second", "unused"][i]!);
    g.scope(`update ${i}`, () => scale(g, gradient, 1));
  });
  assert.equal(order, ["second", "first"]);
  assert.is(found[2], undefined);
  const names = g.nodes.slice(before).map((n) => n.name);
  const update = names.findIndex((n) => n.startsWith("update 1"));
  assert.ok(names.findLastIndex((n) => n.startsWith("gradient.up")) < update, names.join(" "));
  assert.ok(names.findIndex((n) => n.startsWith("gradient.down")) > update, names.join(" "));
});

test("layouts that do not meet are repacked where an op is recorded, either way, and not where they do", () => {
  const g = new Graph();
  const weight = g.parameter("w", { ...f32([8, 64]), layout: "panels" });
  const rows = g.input("rows", f32([8, 64]));
  const repacks = (record: () => Value): { count: number; panels: boolean } => {
    const before = g.nodes.length;
    const { type } = record();
    return { count: g.nodes.slice(before).filter((n) => n.kernel?.name === "repack").length, panels: isInPanels(type) };
  };
  assert.equal(repacks(() => matmul(g, g.input("x", f32([2, 8])), weight)), { count: 0, panels: false }, "a product reads panels");
  assert.equal(repacks(() => scale(g, weight, 2)), { count: 0, panels: true }, "so does what takes any layout");
  assert.equal(repacks(() => add(g, weight, rows)), { count: 1, panels: true }, "rows to panels");
  assert.equal(repacks(() => add(g, rows, weight)), { count: 1, panels: false }, "panels to rows");
  assert.equal(repacks(() => silu(g, weight)), { count: 1, panels: false }, "for an op that knows rows only");
  assert.throws(() => reshape(g, weight, [16, 32]), /does not keep its order/);
});

test("what the loss does not depend on has no gradient", () => {
  const g = new Graph();
  const [x, y] = [g.input("x", f32([3])), g.input("y", f32([3]))];
  const [dx, dy] = gradients(g, mseLoss(g, x, g.input("target", f32([3]))), [x, y]);
  assert.ok(dx);
  assert.is(dy, undefined);
});

test("an op without a gradient rule is named", () => {
  const opaque: Kernel<NoAttributes, "x"> = { name: "opaque", inputs: { x: {} }, infer: ({ x }) => ({ y: x }) };
  const g = new Graph();
  const x = g.input("x", f32([1]));
  const y = g.scope("here", () => g.apply(opaque, { x }, {}).y);
  assert.throws(() => gradients(g, y, [x]), /"opaque".*here\.opaque.*no gradient rule/);
});

test("a loss that is not a scalar needs a seed, of its shape", () => {
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
