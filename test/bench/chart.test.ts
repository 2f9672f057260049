import { test } from "uvu";
import * as assert from "uvu/assert";
import { chartSvg } from "../../bench/chart.ts";
import { ratiosToPeers, summarizeRatios } from "../../bench/ratios.ts";
import { resultText } from "../../bench/table.ts";
import { traceEvents } from "../../engine/runtime/profile/trace.ts";
import { checkXml } from "./xml.ts";
import { PEERS, failedRow, result, row } from "./synthetic-result.ts";

const peers = result(
  [
    row("matmul", [10]),
    row("matmul", [40], { engine: "tfjs" }),
    row("matmul", [30], { engine: "ort-webgpu (composed)" }),
    row("matmul", [20], { engine: "ort-webgpu (MultiHeadAttention)" }),
    row("matmul", [1], { engine: "ort-cpu" }),
    row("matmul", [2], { engine: "jax-js", wrong: 0.5 }),
    row("softmax", [10]),
    row("softmax", [5], { engine: "tfjs" }),
    failedRow("softmax", "computes something else", { engine: "ort-webgpu" }),
    row("only ours", [10]),
    row("matmul", [10], { direction: "forward+gradient" }),
    row("matmul", [80], { direction: "forward+gradient", engine: "tfjs" }),
  ],
  { peers: PEERS },
);

test("a ratio is against the best WebGPU peer of the op; a CPU engine is not a bar", () => {
  const ratios = ratiosToPeers(peers);
  assert.equal(ratios.map((r) => [r.row.name, r.row.direction, r.best.engine, r.ratio]), [
    ["matmul", "forward", "ort-webgpu (MultiHeadAttention)", 2],
    ["softmax", "forward", "tfjs", 0.5],
    ["matmul", "forward+gradient", "tfjs", 8],
  ]);
  assert.is(ratios[0]!.all["ort-cpu"], 0.1);
  const [forward, gradient] = summarizeRatios(ratios);
  assert.ok(Math.abs(forward!.geometricMean - 1) < 1e-12);
  assert.equal(forward!.slower, ["softmax"]);
  assert.ok(Math.abs(gradient!.geometricMean - 8) < 1e-12);
});

test("the chart with peers is well-formed, has a bar for each op a WebGPU peer has done, names the best and never the CPU's", () => {
  const svg = chartSvg(peers);
  assert.is(checkXml(svg).filter((n) => n === "rect").length, 3);
  assert.match(svg, /2\.00×/);
  assert.match(svg, /Forward: 1\.00× \(geometric mean of 2\)/);
  assert.match(svg, />ort-webgpu</);
  assert.match(svg, /&lt;adapter&gt; &amp; &quot;co&quot;/);
  assert.not.match(svg.replace(/<title>[^<]*<\/title>/g, ""), /ort-cpu/);
  assert.match(svg, /jax-js absent/);
});

test("the chart without peers shows shares of the roofline", () => {
  const svg = chartSvg(result([row("matmul", [10]), row("softmax", [10], { direction: "forward+gradient" })]));
  assert.is(checkXml(svg).filter((n) => n === "rect").length, 4); // a bar and its track each
  assert.match(svg, /softmax \+grad/);
  assert.match(svg, /50%/);
  assert.throws(() => chartSvg(result([])), RangeError);
});

test("the text shows ratios, absent peers and what has no numbers", () => {
  const text = resultText(peers);
  assert.match(text, /jax-js: absent, not installed/);
  assert.match(text, /ort-webgpu: softmax forward: computes something else/);
  assert.match(text, /2\.00x ort-webgpu \(MultiHeadAttention\)/);
  assert.match(text, /slower on softmax/);
  assert.match(text, /jax-js: matmul forward: relative error 5\.0e-1/);
});

test("a trace lays programs one after the other, spans in microseconds", () => {
  const at = (start: number, milliseconds: number) => ({
    kernel: "matmul",
    name: "block.matmul",
    workgroups: "4x2x1",
    start,
    milliseconds,
    flops: 2e9,
    bytes: 1e6,
  });
  const program = { program: "p", runs: 3, milliseconds: 3, rows: [at(0, 1), at(1.5, 2)] };
  const events = traceEvents("gpu", [program, { ...program, program: "q" }]);
  const spans = events.filter((e) => e.ph === "X");
  assert.equal(spans.map((e) => [e.tid, e.ts, e.dur]), [[1, 0, 1000], [1, 1500, 2000], [2, 3500, 1000], [2, 5000, 2000]]);
  assert.equal(spans[0]!.args, { op: "block.matmul", workgroups: "4x2x1", flops: 2e9, bytes: 1e6, "GFLOP/s": 2000, "GB/s": 1 });
  assert.equal(events.filter((e) => e.name === "thread_name").map((e) => e.args["name"]), ["p (mean of 3)", "q (mean of 3)"]);
});

test.run();
