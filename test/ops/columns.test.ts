import { test } from "uvu";
import * as assert from "uvu/assert";
import { attention } from "../../kernels/attention.ts";
import { joinColumns, splitColumns } from "../../kernels/columns.ts";
import { conv2d } from "../../kernels/conv2d.ts";
import { scale } from "../../kernels/elementwise.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { gradients } from "../../engine/runtime/autodiff.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { makeSchedule } from "../../engine/runtime/plan/schedule.ts";
import type { Array64 } from "../../engine/verify/self-test/array64.ts";
import { attentionReference } from "../../engine/verify/self-test/reference/attention.ts";
import { conv2d64 } from "../../engine/verify/self-test/reference/gemm.ts";
import { map64 } from "../../engine/verify/self-test/reference/norm.ts";
import { windowReference } from "../../engine/verify/self-test/reference/spatial.ts";
import { checkOp } from "../support/op-test.ts";
import { plannedForGpu } from "../support/planning.ts";
import { finish, testDevice } from "../support/device.ts";

const columns = (x: Array64, start: number, count: number): Array64 => windowReference(x, x.shape.length - 1, start, count);

// Queries, keys and values beside each other, in another order, and beside columns that nothing reads, whose gradient is 0.
for (const { name, widths, order, causal = false } of [
  { name: "q, k, v", widths: [24, 24, 24], order: [0, 1, 2] },
  { name: "causal, v, q, k", widths: [24, 24, 24], order: [1, 2, 0], causal: true },
  { name: "columns unused", widths: [24, 8, 24, 24], order: [0, 2, 3] },
  { name: "one column of the last row at no whole vec4", widths: [24, 24, 24, 3], order: [0, 1, 2] },
]) {
  const total = widths.reduce((a, b) => a + b, 0);
  if (total % 4 !== 0) {
    test(`attention of columns: ${name} is refused`, () => {
      const g = new Graph();
      const parts = splitColumns(g, g.input("x", f32([1, 5, total])), widths);
      assert.throws(() => attention(g, parts[0]!, parts[1]!, parts[2]!, { heads: 2 }), /whole vec4s.*in rows of 75 from 0/);
    });
    continue;
  }
  test(`attention of columns: ${name}`, async () => {
    const starts = widths.map((_, i) => widths.slice(0, i).reduce((a, b) => a + b, 0));
    for (const gpu of [false, true]) {
      await checkOp({
        name,
        inputs: { x: { shape: [2, 21, total] } },
        build(g, { x }) {
          const r = gpu ? plannedForGpu(g) : g;
          const parts = splitColumns(r, x!, widths);
          const [q, k, v] = order.map((i) => parts[i]!) as [Value, Value, Value];
          return attention(r, q, k, v, { heads: 3, causal });
        },
        reference({ x }) {
          const [q, k, v] = order.map((i) => columns(x!, starts[i]!, 24)) as [Array64, Array64, Array64];
          return attentionReference(q, k, v, { heads: 3, causal })[0];
        },
        gradients: ["x"],
      });
    }
  });
}

for (const n of [8, 6]) {
  test(`convolutions with ${n} channels take columns as biases by image`, async () => {
    const withBias = (t: Array64, start: number, y: Array64): Array64 =>
      map64(y, (v, i) => v + columns(t, start, n).data[Math.floor(i / (15 * n)) * n + (i % n)]!);
    await checkOp({
      name: "batch bias columns",
      inputs: { x: { shape: [2, 3, 5, 4] }, w: { shape: [3, 3, 4, n], scale: 0.3 }, b: { shape: [n] }, t: { shape: [2, 2 * n + 4] } },
      build(g, { x, w, b: bias, t }) {
        const [, a, b] = splitColumns(g, t!, [4, n, n]) as [Value, Value, Value];
        return [conv2d(g, x!, w!, { padding: 1, bias, batchBias: a }), conv2d(g, x!, w!, { padding: 1, bias, batchBias: b })];
      },
      reference({ x, w, b, t }) {
        const y = conv2d64(x!, w!, b!, 1, [1, 1, 1, 1]);
        return [withBias(t!, 4, y), withBias(t!, 4 + n, y)];
      },
      gradients: n === 8 ? ["x", "t"] : ["t"],
    });
  });
}

test("gradients of columns are written to their place", async () => {
  const { capabilities } = await testDevice();
  const g = new Graph();
  const x = g.input("x", f32([1, 16, 96]));
  const [q, k, v] = splitColumns(g, x, [32, 32, 32]) as [Value, Value, Value];
  const o = attention(g, q, k, v, { heads: 4 });
  const schedule = makeSchedule(g, [gradients(g, o, [x], g.input("dy", o.type))[0]!], capabilities);
  assert.equal(schedule.steps.at(-1)!.node.kernel!.name, "join-columns");
  assert.equal(schedule.steps.at(-1)!.plan.dispatches.length, 0);
});

test("what would have to be copied is, and what cannot be read is refused", async () => {
  const g = new Graph();
  const x = g.input("x", f32([2, 12]));
  const [a] = splitColumns(g, x, [8, 4]);
  assert.throws(() => scale(g, a!, 2), /scale: input "x" must be a tensor of its own, got f32\[2,8\] in rows of 12 from 0/);
  assert.throws(() => makeSchedule(g, [a!], { subgroupSize: 0, software: false } as never), /cannot be read as an output/);
  assert.throws(() => splitColumns(g, x, [8, 5]), /split-columns: widths 8 \+ 5 do not make up/);
  assert.throws(() => joinColumns(g, [x, g.input("y", f32([3, 4]))]), /join-columns: x1 f32\[3,4\] and x0/);
  await checkOp({
    name: "join",
    inputs: { a: { shape: [3, 4] }, b: { shape: [3, 5] }, c: { shape: [3, 3] } },
    build: (r, v) => joinColumns(r, [v.a!, v.b!, v.c!]),
    reference: (v) => ({
      shape: [3, 12],
      data: Float64Array.from(
        [0, 1, 2].flatMap((row) =>
          [v.a!, v.b!, v.c!].flatMap((part) => [...part.data.subarray(row * part.shape[1]!, (row + 1) * part.shape[1]!)]),
        ),
      ),
    }),
  });
});

finish();
