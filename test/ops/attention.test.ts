import { test } from "uvu";
import * as assert from "uvu/assert";
import { attention, attentionKernel } from "../../kernels/attention.ts";
import { uniformAttention } from "../../kernels/attention-table.ts";
import { composedAttention } from "../../kernels/composed-attention.ts";
import { type Capabilities, type Recorder, ShapeError, type Value, f32 } from "../../kernels/kernel.ts";
import { placedKernel } from "../../kernels/placed-kernel.ts";
import { transpose } from "../../kernels/transpose.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { type AttentionCase, attentionInputs, attentionWithGradients } from "../support/attention-case.ts";
import { type OpSpec, checkOp } from "../support/op-test.ts";
import { finish } from "../support/device.ts";
import { attentionReference } from "../../engine/verify/self-test/reference/attention.ts";

function spec(c: AttentionCase, gradients: readonly string[] = ["q", "k", "v"]): OpSpec {
  return {
    name: c.name,
    inputs: attentionInputs(c),
    build: (g, { q, k, v }) => attention(g, q!, k!, v!, c),
    reference: ({ q, k, v }) => attentionReference(q!, k!, v!, c)[0],
    gradients,
  };
}

const CASES: readonly AttentionCase[] = [
  { name: "self attention, 64 tokens, heads of 16", heads: 4, queries: 64, keys: 64, head: 16 },
  { name: "self attention, 16 tokens, heads of 24", heads: 4, queries: 16, keys: 16, head: 24 },
  { name: "cross attention to 32 keys", heads: 4, queries: 64, keys: 32, head: 16 },
  { name: "causal, 32 tokens, heads of 32", heads: 4, queries: 32, keys: 32, head: 32, causal: true },
  { name: "causal, 37 tokens, batch 3", batch: 3, heads: 2, queries: 37, keys: 37, head: 8, causal: true },
  { name: "causal with fewer keys than queries", heads: 1, queries: 21, keys: 13, head: 12, causal: true },
  { name: "causal with more keys than queries", heads: 1, queries: 13, keys: 29, head: 12, causal: true },
  { name: "heads of 10, 37 queries, 77 keys, batch 2", batch: 2, heads: 2, queries: 37, keys: 77, head: 10 },
  { name: "heads of 5", batch: 3, heads: 4, queries: 13, keys: 13, head: 5 },
  { name: "heads of 160", heads: 2, queries: 9, keys: 11, head: 160 },
  { name: "130 queries", heads: 1, queries: 130, keys: 33, head: 8 },
  { name: "one query", heads: 2, queries: 1, keys: 19, head: 8 },
  { name: "a given scale", heads: 2, queries: 10, keys: 10, head: 8, scale: 0.05 },
  { name: "large scores", heads: 2, queries: 24, keys: 24, head: 8, size: 6 },
];

for (const c of CASES) test(`attention: ${c.name}`, () => checkOp(spec(c)));

// With one key the probability is 1 whatever the score: the output is v and nothing flows to q and k.
test("attention: one key", async () => {
  await checkOp(spec({ name: "one key", batch: 2, heads: 2, queries: 7, keys: 1, head: 8 }));
});

test("attention: gradient of the query only, and of key and value only", async () => {
  const c: AttentionCase = { name: "some gradients", heads: 2, queries: 11, keys: 14, head: 12 };
  await checkOp(spec(c, ["q"]));
  await checkOp(spec(c, ["k"]));
  await checkOp(spec(c, ["v"]));
});

test("attention: saturated scores stay finite", () =>
  checkOp(spec({ name: "saturated", heads: 1, queries: 20, keys: 40, head: 16, size: 40 }, [])));

// Shaders chosen for other devices than the one at hand, whose outputs and gradients must be the same.
const DEVICES: Readonly<Record<string, Partial<Capabilities>>> = {
  "a CPU without subgroups": { subgroupSize: 0 },
  "a GPU, whole rows to a lane": { software: false, attention: uniformAttention("rows") },
};
const VARIANTS: readonly AttentionCase[] = [
  { name: "cross", batch: 2, heads: 2, queries: 37, keys: 21, head: 8 },
  { name: "causal", heads: 1, queries: 70, keys: 70, head: 20, causal: true },
  { name: "130 queries, heads of 10", heads: 2, queries: 130, keys: 9, head: 10 },
];

for (const [device, override] of Object.entries(DEVICES)) {
  for (const c of VARIANTS) {
    test(`attention as on ${device}: ${c.name}`, () => checkOp(attentionWithGradients(c, override), undefined, "attention rows"));
  }
}

// Enough work for four rows a lane on a software adapter: of queries and keys, of queries only, of keys only.
const LARGE: readonly AttentionCase[] = [
  { name: "133 queries, 410 keys, batch 2", batch: 2, heads: 3, queries: 133, keys: 410, head: 40 },
  { name: "300 queries, causal", heads: 8, queries: 300, keys: 300, head: 20, causal: true },
  { name: "1030 queries, 77 keys, heads of 10", heads: 16, queries: 1030, keys: 77, head: 10 },
  { name: "30 queries, 1030 keys", heads: 10, queries: 30, keys: 1030, head: 44 },
];
for (const c of LARGE) test(`attention: ${c.name}`, () => checkOp(attentionWithGradients(c, {}), undefined, "attention rows"));

test("attention: heads above 160 are composed, a slice of queries at a time", async () => {
  const c: AttentionCase = { name: "heads of 164", heads: 2, queries: 10, keys: 7, head: 164, batch: 2 };
  await checkOp(spec(c));
  await checkOp({
    ...spec(c),
    name: "in slices",
    build: (g, { q, k, v }) => composedAttention(g, q!, k!, v!, { heads: 2, maxScores: 2 * 7 * 4 }),
  });
});

for (const shape of [[3, 5, 7], [2, 8, 12], [1, 6], [37, 20], [2, 3, 4, 16]]) {
  test(`transpose [${shape.join(",")}]`, async () => {
    const [rows, columns] = [shape.at(-2)!, shape.at(-1)!];
    await checkOp({
      name: `transpose [${shape.join(",")}]`,
      inputs: { x: { shape } },
      build: (g, { x }) => transpose(g, x!),
      reference: ({ x }) => ({
        shape: [...shape.slice(0, -2), columns, rows],
        data: x!.data.map(
          (_, i) => x!.data[Math.floor(i / (rows * columns)) * rows * columns + (i % rows) * columns + (Math.floor(i / rows) % columns)]!,
        ),
      }),
      gradients: ["x"],
    });
  });
}

function refused(build: (g: Recorder, x: (...shape: number[]) => Value) => unknown, pattern: RegExp): void {
  const g = new Graph();
  let count = 0;
  assert.throws(
    () => build(g, (...shape) => g.input(`x${count++}`, f32(shape))),
    (e: unknown) => e instanceof ShapeError && pattern.test(e.message),
  );
}

test("attention: shapes that do not fit are refused", () => {
  refused((g, x) => attention(g, x(1, 4, 30), x(1, 5, 30), x(1, 5, 30), { heads: 4 }), /30 channels .*4 heads/);
  refused((g, x) => attention(g, x(1, 4, 32), x(1, 5, 24), x(1, 5, 24), { heads: 4 }), /f32\[1,4,32\] and k f32\[1,5,24\]/);
  refused((g, x) => attention(g, x(2, 4, 32), x(1, 5, 32), x(1, 5, 32), { heads: 4 }), /same batch/);
  refused((g, x) => attention(g, x(1, 4, 32), x(1, 5, 32), x(1, 6, 32), { heads: 4 }), /k f32\[1,5,32\] and v f32\[1,6,32\]/);
  refused((g, x) => attention(g, x(4, 32), x(5, 32), x(5, 32), { heads: 4 }), /3 dimensions/);
  refused((g, x) => attention(g, x(1, 4, 512), x(1, 4, 512), x(1, 4, 512), { heads: 1, causal: true }), /at most 160/);
  refused(
    (g, x) => g.apply(attentionKernel, { q: x(1, 4, 512), k: x(1, 4, 512), v: x(1, 4, 512) }, { heads: 1, causal: false, scale: 1 }).o,
    /512 channels/,
  );
  refused((g, x) => transpose(g, x(4)), /two dimensions/);
});

test("attention: cost counts the products", () => {
  const types = [f32([2, 64, 64]), f32([2, 32, 64]), f32([2, 32, 64])];
  const attributes = { heads: 4, causal: false, scale: 0.25 };
  const kernel = placedKernel(attentionKernel);
  assert.is(kernel.cost(types, kernel.infer(types, attributes), attributes).flops, 4 * 2 * 64 * 32 * 64);
});

finish();
