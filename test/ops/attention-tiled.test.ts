import { test } from "uvu";
import * as assert from "uvu/assert";
import { type AttentionAttributes, MAX_FLASH_HEAD } from "../../kernels/attention-plan.ts";
import { attention } from "../../kernels/attention.ts";
import { blockDefines, tiledBlock } from "../../kernels/attention-tiled.ts";
import { uniformAttention } from "../../kernels/attention-table.ts";
import { splitColumns } from "../../kernels/columns.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { attentionReference } from "../../engine/verify/self-test/reference/attention.ts";
import { windowReference } from "../../engine/verify/self-test/reference/spatial.ts";
import { type AttentionCase, attentionPlans, attentionWithGradients } from "../support/attention-case.ts";
import { finish, testDevice } from "../support/device.ts";
import { checkOp } from "../support/op-test.ts";
import { plannedForGpu } from "../support/planning.ts";

// The form for GPUs, on whatever device there is: sizes that no block divides, heads of which threads take vec4s (160) or numbers, evenly
// (40) or not (50). Few heads, because each takes three pipelines, and lavapipe seconds to compile one.
const CASES: readonly AttentionCase[] = [
  { name: "77 keys, batch 2, large scores", batch: 2, heads: 2, queries: 133, keys: 77, head: 40, size: 3 },
  { name: "parts of queries", heads: 2, queries: 301, keys: 30, head: 40 },
  { name: "parts of keys", heads: 1, queries: 30, keys: 301, head: 40 },
  { name: "77 tokens, causal", heads: 3, queries: 77, keys: 77, head: 40, causal: true },
  { name: "causal with fewer keys than queries", heads: 1, queries: 150, keys: 13, head: 40, causal: true },
  { name: "causal with more keys than queries", heads: 1, queries: 13, keys: 150, head: 40, causal: true },
  // Nothing flows to q and k here: what is left is rounding, as large as they are, and judged by its own size.
  { name: "one key", batch: 2, heads: 2, queries: 7, keys: 1, head: 40, size: 0.25 },
  { name: "one query, a given scale", heads: 2, queries: 1, keys: 200, head: 40, scale: 0.05 },
  { name: "heads of 160, parts of both", heads: 2, queries: 75, keys: 140, head: 160 },
];
const PADDED: AttentionCase = { name: "heads of 50, padded", batch: 2, heads: 2, queries: 33, keys: 129, head: 50 };

const casesOf = {
  "tiled-8": [...CASES, PADDED],
  "tiled-4": CASES,
  "tiled-small": CASES.filter((c) => c.causal || c.name.startsWith("parts of")),
};

for (const form of ["tiled-8", "tiled-4", "tiled-small"] as const) {
  for (const c of casesOf[form]) {
    test(`${form} attention: ${c.name}`, () =>
      checkOp(attentionWithGradients(c, { attention: uniformAttention(form) }), undefined, `attention ${form}`));
  }

  test(`${form} attention: every head's blocks fit into workgroup memory and registers`, () => {
    for (let headVec4 = 1; headVec4 <= MAX_FLASH_HEAD / 4; headVec4++) {
      for (const [pass, scores, outputs] of [["forward", 1, 1], ["query", 2, 1], ["key-value", 2, 2]] as const) {
        const block = tiledBlock(form, pass, headVec4);
        const defines = blockDefines(block, headVec4);
        const numbers =
          4 * scores * block.rows * block.groups + outputs * block.rows * Number(defines["COLUMNS"]) * (defines["VEC4"] === true ? 4 : 1);
        assert.ok(
          Number(defines["TILE_VEC4"]) <= 1024 && numbers <= 176,
          `${pass}, heads of ${4 * headVec4}: ${numbers} numbers of a thread`,
        );
        assert.ok(block.threadRows * block.threadColumns <= 256);
      }
    }
  });
}

test("tiled attention: the gradients of columns of one tensor, summed over parts", async () => {
  await checkOp({
    name: "columns",
    inputs: { x: { shape: [2, 150, 48] } },
    build(g, { x }) {
      const r = plannedForGpu(g);
      const [q, k, v] = splitColumns(r, x!, [16, 16, 16]) as [Value, Value, Value];
      return attention(r, q, k, v, { heads: 2 });
    },
    reference: ({ x }) =>
      attentionReference(windowReference(x!, 2, 0, 16), windowReference(x!, 2, 16, 16), windowReference(x!, 2, 32, 16), { heads: 2 })[0],
    gradients: ["x"],
  });
});

test("tiled attention: the walk is cut where blocks of rows are few, and not where it is causal", async () => {
  const { capabilities } = await testDevice();
  const names = (queries: number, keys: number, causal: boolean): string[] => {
    const [q, k] = [f32([1, queries, 320]), f32([1, keys, 320])];
    const attributes: AttentionAttributes = { heads: 8, causal, scale: 1 };
    const planned = attentionPlans({ q, k, v: k }, attributes, { ...capabilities, attention: uniformAttention("tiled-8") });
    return [...planned.dispatches, ...planned.gradient].map((d) => d.shader.name.replace("attention-", ""));
  };
  const whole = ["tiled", "gradient-delta", "tiled-gradient-query", "tiled-gradient-key-value"];
  assert.equal(names(4096, 4096, false), whole);
  assert.equal(names(77, 77, true), whole);
  assert.equal(names(4096, 77, false), [...whole, "merge", "merge"]);
  assert.equal(names(256, 256, false), [
    "tiled",
    "merge",
    "gradient-delta",
    "tiled-gradient-query",
    "merge",
    "tiled-gradient-key-value",
    "merge",
    "merge",
  ]);
});

finish();
