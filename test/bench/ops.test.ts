import { test } from "uvu";
import * as assert from "uvu/assert";
import { EMOJI_CASES, type OpCase, type OpShape, QUICK_CASES, sd14Cases } from "../../bench/ops/cases.ts";
import { NORM_EPSILON, opData, opInputs, outputShape, recordOp, wantedGradients } from "../../bench/ops/record.ts";
import { type BenchRow, resultProblem } from "../../bench/results.ts";
import { runBench } from "../../bench/run.ts";
import { prepareOp } from "../../bench/suites/ops.ts";
import { Profiler } from "../../engine/runtime/profile/profiler.ts";
import { attentionReference } from "../../engine/verify/self-test/reference/attention.ts";
import { conv2d64, matmul64 } from "../../engine/verify/self-test/reference/gemm.ts";
import { geglu64, groupNorm64, layerNorm64, map64, softmax64 } from "../../engine/verify/self-test/reference/norm.ts";
import { elementCount } from "../../kernels/kernel.ts";
import { type Array64, checkOp } from "../support/op-test.ts";
import { finish, testDevice } from "../support/device.ts";

/** Finite differences evaluate the reference some hundred times. */
const GRADIENT_FLOPS = 3e5;
const FORWARD_FLOPS = 4e7;

function reference(s: OpShape, v: Readonly<Record<string, Array64>>): Array64 {
  switch (s.op) {
    case "linear":
      return map64(matmul64(v["x"]!, v["weight"]!, false), (y, i) => y + v["bias"]!.data[i % s.out]!);
    case "conv2d":
      return conv2d64(v["x"]!, v["weight"]!, v["bias"]!, s.stride, [s.kernel >> 1, s.kernel >> 1, s.kernel >> 1, s.kernel >> 1]);
    case "attention":
      return attentionReference(v["q"]!, v["k"]!, v["v"]!, { heads: s.heads })[0];
    case "group-norm":
      return groupNorm64(v["x"]!, v["gamma"]!, v["beta"]!, { groups: s.groups, epsilon: NORM_EPSILON, silu: true });
    case "layer-norm":
      return layerNorm64(v["x"]!, v["gamma"]!, v["beta"]!, NORM_EPSILON);
    case "geglu":
      return geglu64(v["x"]!);
    case "softmax":
      return softmax64(v["x"]!);
  }
}

async function flopsOf(one: OpCase): Promise<number> {
  const prepared = await prepareOp(await testDevice(), one, "forward", opData(one.shape));
  prepared.destroy?.();
  return prepared.work.flops;
}

const all = [...EMOJI_CASES, ...sd14Cases(8)];
for (const one of all) {
  test(`${one.model}: ${one.name}`, async () => {
    const { shape } = one;
    const flops = await flopsOf(one);
    assert.ok(flops > 0);
    if (flops > FORWARD_FLOPS) return; // the same kernels at sizes that a plain reference takes seconds for
    await checkOp({
      name: one.name,
      inputs: opInputs(shape),
      build: (g, v) => recordOp(g, shape, v),
      reference: (v) => reference(shape, v),
      gradients: flops <= GRADIENT_FLOPS ? wantedGradients(shape) : [],
    });
  });
}

test("cases: names are unique, shapes are those of the names, every kind of op is in the quick ones", () => {
  assert.is(new Set(all.map((c) => `${c.model} ${c.name}`)).size, all.length);
  assert.equal(new Set(QUICK_CASES.map((c) => c.shape.op)), new Set(all.map((c) => c.shape.op)));
  assert.throws(() => sd14Cases(12), RangeError);
  // 512 x 512 pictures: 4096 tokens of 320 channels in 8 heads of 40.
  assert.ok(sd14Cases(64).some((c) => c.name === "attention 4096x4096 d40 h8"));
  assert.ok(sd14Cases(64).some((c) => c.name === "conv2d 3x3 320->320 @64"));
});

test("a program with gradient gives the gradient of each activation", async () => {
  const one = EMOJI_CASES.find((c) => c.shape.op === "attention")!;
  const prepared = await prepareOp(await testDevice(), one, "forward+gradient", opData(one.shape));
  await prepared.run();
  const read = await prepared.program.read();
  assert.equal(Object.keys(read), ["result", "gradient of q", "gradient of k", "gradient of v"]);
  assert.is(read["result"]!.length, elementCount(outputShape(one.shape)));
  assert.ok(prepared.dispatches >= 3 && prepared.pipelines >= 3);
  prepared.destroy?.();
});

test("a quick run measures every kind of op, forward and with gradient; its result is valid; profiling leaves times alone", async () => {
  const device = await testDevice();
  const rows: BenchRow[] = [];
  const profiler = device.features.includes("timestamp-query") ? new Profiler(device) : undefined;
  const result = await runBench(
    { suites: ["ops"], models: ["emoji"], batches: [1], tokens: 1, quick: true, samples: 2, seconds: 0.01, weights: "f32" },
    {
      device, profiler, peers: [], versions: { lethe: "0", webgpu: "0" }, root: ".", facts: {},
      openModel: () => Promise.reject(new Error("no model is needed")),
      openJudge: () => Promise.resolve(undefined),
      onBegin: (_name, fraction) => assert.ok(fraction >= 0 && fraction <= 1),
      onRow: (row) => void rows.push(row),
    },
  );
  assert.is(resultProblem(JSON.parse(JSON.stringify(result))), undefined);
  assert.equal(result.rows, rows);
  assert.is(rows.length, 2 * QUICK_CASES.length);
  for (const row of rows) {
    assert.is(row.error, undefined, `${row.name}: ${row.error}`);
    assert.ok(row.flops > 0 && row.bytes > 0 && row.rates!.gflops > 0 && row.rates!.shareOfRoofline > 0, row.name);
    assert.ok(row.firstRunMs! > 0 && row.dispatches! > 0 && row.pipelines! > 0 && row.peakBytes! > 0, row.name);
  }
  assert.ok(result.peak.gflops > 0 && result.peak.gbps > 0);
  const report = await profiler?.report();
  if (report) assert.is(report.programs.length, rows.length);
});

finish();
