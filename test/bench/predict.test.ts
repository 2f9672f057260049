import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Card } from "../../bench/predict/cards.ts";
import { type Prediction, predictGraph } from "../../bench/predict/roofline.ts";
import { measuredMs, predictionText } from "../../bench/predict/table.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { add } from "../../kernels/elementwise.ts";
import { f32 } from "../../kernels/kernel.ts";
import { matmul } from "../../kernels/matmul.ts";
import { result, row } from "./synthetic-result.ts";

/** A millisecond is 1e6 operations in f32, 4e6 in products of halves, 1e6 bytes; a launch takes a hundredth of one. */
const CARD: Card = { name: "a card", gflops: 1, matrixGflops: 4, gbps: 1, launchMicroseconds: 10, source: "made up" };

function predicted(half: boolean, unused = false): Omit<Prediction, "row"> {
  const g = new Graph();
  const [a, b] = [g.input("a", f32([100, 400])), g.input("b", f32([400, 200]))];
  const product = matmul(g, a, b);
  if (unused) matmul(g, a, b);
  return predictGraph(g, { outputs: { y: add(g, product, g.input("c", product.type)) } }, CARD, half);
}

test("an op takes the larger of its operations and its bytes, and a launch for each dispatch", () => {
  const { ops, dispatches, milliseconds } = predicted(false);
  const product = ops.find((o) => o.op === "matmul")!;
  const sum = ops.find((o) => o.op === "add")!;
  assert.is(product.flops, 2 * 100 * 400 * 200);
  assert.is(product.milliseconds.toFixed(6), (16 + 0.01).toFixed(6)); // 16e6 operations; 560,000 bytes are less
  assert.is(product.bound, "arithmetic");
  assert.is(sum.bytes, 3 * 20_000 * 4);
  assert.is(sum.milliseconds.toFixed(6), (0.24 + 0.01).toFixed(6)); // 20,000 operations are less
  assert.is(sum.bound, "memory");
  assert.is(dispatches, 2);
  assert.is(milliseconds.toFixed(6), (16.01 + 0.25).toFixed(6));
});

test("products of halves run at the matrix units' rate, other ops do not, and what no output needs is not counted", () => {
  const { ops } = predicted(true, true); // the product is also stored as f16: 40,000 bytes less for whoever reads it
  assert.equal(ops.map((o) => [o.op, o.count, o.milliseconds.toFixed(6)]), [["matmul", 1, "4.010000"], ["add", 1, "0.210000"]]);
});

test("measured times stand beside the row of the same name, model and direction", () => {
  const prediction: Prediction = { row: { suite: "unet", name: "UNet @64 batch 1", direction: "forward" }, ...predicted(false) };
  const measured = result([
    row("UNet @64 batch 1", [32.52, 32.52, 32.52], { suite: "unet", model: "synthetic:sd14" }),
    row("UNet @64 batch 1", [99, 99, 99], { suite: "unet", model: "emoji" }),
  ]);
  const ms = measuredMs(measured, "synthetic:sd14", prediction)!;
  assert.ok(ms > 0 && ms !== measuredMs(measured, "emoji", prediction));
  assert.is(measuredMs(measured, "another", prediction), undefined);
  const text = predictionText([prediction], CARD, false, "synthetic:sd14", measured);
  assert.match(text, /^A prediction, not a measurement: a card/);
  assert.match(text, /UNet @64 batch 1 .* 16\.3 +\d+(\.\d+)? +[\d.]+x/);
});

test.run();
