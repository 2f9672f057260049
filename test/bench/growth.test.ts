import { test } from "uvu";
import * as assert from "uvu/assert";
import { chartSvg } from "../../bench/chart.ts";
import { growthChartSvg } from "../../bench/growth/chart.ts";
import { growthText } from "../../bench/growth/table.ts";
import { flaggedLines, growthCurves } from "../../bench/growth/growth.ts";
import { type BenchRow, type Growth, mergeResults, parseResult, resultProblem } from "../../bench/results.ts";
import { runGrowth } from "../../bench/suites/growth.ts";
import type { Bench } from "../../bench/task.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { modelSource } from "../../engine/platform/model-source-node.ts";
import { finish, testDevice } from "../support/device.ts";
import { result, row } from "./synthetic-result.ts";
import { checkXml } from "./xml.ts";

/** A row of a curve; CPU time is two cores' worth of `ms`. */
function point(at: number, ms: number, bytes: number, work: { flops: number; bytes: number }, more: Partial<Growth> = {}): BenchRow {
  return row(`c by batch: ${at}`, [ms, ms * 3], {
    suite: "growth",
    ...work,
    growth: { curve: "c", by: "batch", at, bytes, arithmeticBytes: at * 1000, estimated: false, ...more },
  });
}

test("growth is by the fastest sample, since the smaller row that makes it look worst, against the count that grew more", () => {
  const rows = [
    point(8, 100, 9000, { flops: 800, bytes: 50 }),
    point(1, 40, 1000, { flops: 100, bytes: 40 }), // slow for its work: growth since it would hide what happened since 2
    point(2, 20, 2000, { flops: 200, bytes: 42 }),
    point(4, 40, 4000, { flops: 250, bytes: 84 }), // bytes grew more than operations
  ];
  const curves = growthCurves(result(rows));
  assert.is(curves.length, 1);
  const [one, two, four, eight] = curves[0]!;
  assert.equal([one!.growth.at, one!.time, one!.memory], [1, undefined, undefined]);
  assert.equal(two!.time, { since: 1, grew: 0.5, arithmetic: 2, ratio: 0.25, flagged: false });
  assert.equal(four!.time, { since: 2, grew: 2, arithmetic: 2, ratio: 1, flagged: false });
  assert.equal(eight!.time, { since: 2, grew: 5, arithmetic: 4, ratio: 1.25, flagged: false });
  assert.is(eight!.memory!.ratio, 1.125);
  assert.equal(flaggedLines(curves), []);
  const worse = growthCurves(result([...rows.slice(1), point(8, 101, 9000, { flops: 800, bytes: 50 })]));
  assert.equal(
    flaggedLines(worse).map((l) => l.growth.at),
    [8],
  );
  assert.match(
    growthText(result([...rows.slice(1), point(8, 101, 90_000, { flops: 800, bytes: 50 })])),
    /over in time, over in memory\n[^]*1 of 4 rows grew more than 1\.25x/,
  );
  assert.match(growthText(result(rows)), /none of 4 rows grew more than 1\.25x/);
});

test("curves of other models, other variables and estimates are apart; an estimate has memory alone", () => {
  const work = { flops: 100, bytes: 10 };
  const { wall: _wall, cpu: _cpu, ...bare } = point(2, 1, 20, work, { estimated: true });
  const mixed = result([
    point(1, 1, 10, work),
    { ...point(1, 1, 10, work), model: "other" },
    {
      ...point(1, 1, 10, work),
      name: "by k",
      growth: { curve: "c", by: "tokens k", at: 1, bytes: 1, arithmeticBytes: 1, estimated: false },
    },
    { ...bare, name: "estimate" },
  ]);
  assert.is(resultProblem(JSON.parse(JSON.stringify(mixed))), undefined);
  const curves = growthCurves(mixed);
  assert.is(curves.length, 4);
  assert.equal(
    curves.at(-1)!.map((l) => [l.ms, l.growth.bytes]),
    [[undefined, 20]],
  );
  assert.match(
    resultProblem({
      ...mixed,
      rows: [{ ...bare, growth: { curve: "c", by: "batch", at: 0, bytes: 1, arithmeticBytes: 1, estimated: true } }],
    })!,
    /growth/,
  );
});

test("the growth chart is well-formed: a point for each row and quantity", () => {
  const rows = [1, 2, 4].map((at) => point(at, 10 * at, 1000 * at, { flops: at, bytes: at }));
  const svg = growthChartSvg(result(rows));
  assert.is(checkXml(svg).filter((n) => n === "circle").length, 2 * 3 + 2); // and two in the legend
  assert.match(svg, /batch/);
  assert.throws(() => growthChartSvg(result([row("matmul", [1])])), RangeError);
});

test("results of one adapter are drawn together, of two they are not", () => {
  const a = result([row("matmul", [10]), row("softmax", [10])]);
  const b = result([row("matmul", [5]), row("UNet", [50], { suite: "unet" })]);
  const both = mergeResults([a, b], ["a.json", "b.json"]);
  assert.equal(both.rows.map((r) => [r.name, r.wall!.median]), [["matmul", 5], ["softmax", 10], ["UNet", 50]]);
  assert.match(chartSvg(both), /UNet/);
  const other = { ...b, stamp: { ...b.stamp, adapter: { ...b.stamp.adapter, description: "another" } } };
  assert.throws(() => mergeResults([a, other], ["a.json", "b.json"]), /b\.json: its adapter is "another"/);
  assert.equal(parseResult("f", JSON.stringify(both)), both);
});

const FEW = /^(UNet forward by (latent size|batch): \d+|attack iteration by latent size: 8|search update by vocabulary: 1024)$/;

test("the suite holds less than twice the memory its ops need at once, and the UNet's grows as positions and batch do", async () => {
  const device = await testDevice();
  const rows: BenchRow[] = [];
  const open = (name: string): Promise<StableDiffusion> => loadStableDiffusion(device, modelSource(name));
  const bench: Bench = {
    device, basis: { kind: "wall" }, peak: { gflops: 1, gbps: 1 }, measure: { samples: 2, sampleMs: 1, budgetMs: 1 }, profiler: undefined,
    wants: (name) => FEW.test(name), begin: () => undefined, add: (r) => void rows.push(r),
  };
  const model = await open("emoji");
  try {
    await runGrowth(bench, { name: "emoji", model }, open, true);
  } finally {
    await model.destroy();
  }
  assert.equal(rows.filter((r) => r.error !== undefined), []);
  const [measured, estimated] = [rows.filter((r) => r.wall), rows.filter((r) => r.growth!.estimated)];
  assert.equal(
    measured.map((r) => r.growth!.at),
    [8, 16, 1, 2, 8, 1024],
  );
  for (const { name, growth } of rows) {
    assert.ok(
      growth!.bytes >= growth!.arithmeticBytes && growth!.bytes < 2 * growth!.arithmeticBytes + 2 ** 18,
      `${name}: ${growth!.bytes} bytes held, ${growth!.arithmeticBytes} needed at once`,
    );
  }
  const bytes = (by: string, at: number): number =>
    estimated.find((r) => r.growth!.curve === "UNet forward" && r.growth!.by === by && r.growth!.at === at)!.growth!.bytes;
  assert.ok(bytes("latent size", 16) < 4.1 * bytes("latent size", 8), "four times the positions");
  assert.ok(bytes("batch", 2) < 2.1 * bytes("batch", 1), "twice the batch");
});

finish();
