import { test } from "uvu";
import * as assert from "uvu/assert";
import { measureInterleaved } from "../../bench/measure.ts";
import { basisMs, leastMs, rates } from "../../bench/rates.ts";
import { geometricMean, quantile, summarize } from "../../bench/statistics.ts";

test("quantiles interpolate between order statistics", () => {
  assert.is(quantile([3, 1, 2], 0.5), 2);
  assert.is(quantile([4, 1, 2, 3], 0.5), 2.5);
  assert.is(quantile([4, 1, 2, 3], 0.25), 1.75); // numpy.quantile([1, 2, 3, 4], 0.25)
  assert.is(quantile([7], 0.75), 7);
  assert.is(quantile([1, 2], 0), 1);
  assert.is(quantile([1, 2], 1), 2);
  assert.throws(() => quantile([], 0.5), RangeError);
});

test("a summary is median, minimum and relative interquartile range", () => {
  const t = summarize([10, 14, 8, 12, 100]);
  assert.is(t.median, 12);
  assert.is(t.min, 8);
  assert.is(t.spread, 0.333333); // quartiles 10 and 14: the outlier does not count
  assert.is(t.samples, 5);
});

test("geometric mean", () => {
  assert.ok(Math.abs(geometricMean([2, 8])! - 4) < 1e-12);
  assert.ok(Math.abs(geometricMean([0.5, 2])! - 1) < 1e-12);
  assert.is(geometricMean([]), undefined);
});

test("rates are by the basis, and the roofline takes the nearer ceiling", () => {
  const timing = (median: number, min: number) => ({ median, min, spread: 0, samples: 1 });
  const measured = { wall: timing(10, 8), cpu: timing(12, 11) };
  assert.is(basisMs(measured, { kind: "wall" }), 10);
  assert.is(basisMs(measured, { kind: "cpu", cores: 4 }), 3);
  assert.is(leastMs(measured, { kind: "wall" }), 8);
  const r = rates({ flops: 2e9, bytes: 1e8 }, 10, { gflops: 400, gbps: 20 });
  assert.is(r.gflops, 200);
  assert.is(r.gbps, 10);
  assert.is(r.shareOfPeak, 0.5);
  assert.is(r.shareOfRoofline, 0.5);
  assert.is(rates({ flops: 2e9, bytes: 1e8 }, 10, { gflops: 400, gbps: 12.5 }).shareOfRoofline, 0.8);
});

test("subjects are run in turn; one that fails is reported and left out", async () => {
  const order: string[] = [];
  const busy = async (name: string, ms: number, count: number): Promise<void> => {
    order.push(name);
    const until = performance.now() + ms * count;
    while (performance.now() < until);
  };
  let runs = 0;
  const subjects = [
    { name: "a", run: (n: number) => busy("a", 2, n) },
    {
      name: "bad",
      async run(n: number) {
        await busy("bad", 1, n);
        if (++runs === 3) throw new Error("gave up");
      },
    },
    { name: "b", run: (n: number) => busy("b", 4, n) },
  ];
  const [a, bad, b] = await measureInterleaved(subjects, { samples: 5, sampleMs: 4, budgetMs: 60_000 });
  assert.ok(bad instanceof Error && bad.message === "gave up");
  assert.ok(!(a instanceof Error) && !(b instanceof Error));
  assert.is(a!.wall.samples, 5);
  assert.ok(a!.wall.min >= 2 && a!.wall.min < b!.wall.median, `2 ms of work measured as ${a!.wall.min}`);
  assert.ok(b!.wall.min >= 4, `4 ms of work measured as ${b!.wall.min}`);
  assert.ok(a!.cpu.median > 0.1, "busy waiting is CPU time");
  assert.equal(order.slice(-4), ["a", "b", "a", "b"]);
});

test("the budget ends sampling after three rounds; an abort ends it at once", async () => {
  const wait = { name: "wait", run: (n: number) => new Promise<void>((done) => void setTimeout(done, 5 * n)) };
  const [m] = await measureInterleaved([wait], { samples: 100, sampleMs: 1, budgetMs: 1 });
  assert.ok(!(m instanceof Error));
  assert.is(m!.wall.samples, 3);
  const controller = new AbortController();
  controller.abort(new Error("stopped"));
  try {
    await measureInterleaved([wait], { samples: 3, sampleMs: 1, budgetMs: 1, signal: controller.signal });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "stopped");
  }
});

test.run();
