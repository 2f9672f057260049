import { test } from "uvu";
import * as assert from "uvu/assert";
import { matmul } from "../../kernels/matmul.ts";
import { f32 } from "../../kernels/kernel.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { Graph } from "../../engine/runtime/graph.ts";
import { DispatchTimes, Pacer, TARGET_MS } from "../../engine/runtime/pacing.ts";
import { Program } from "../../engine/runtime/program.ts";
import { Tensor } from "../../engine/runtime/tensor.ts";
import { scale } from "../../kernels/elementwise.ts";
import { finish, testDevice } from "../support/device.ts";
import { normals } from "../support/op-test.ts";

/**
 * A device with a clock of its own, on which the dispatches of a program take these milliseconds each. Time passes only when the host has
 * nothing left to do but wait.
 */
class FakeDevice {
  now = 0;
  /** When the device will be done with what it was given. */
  private busyUntil = 0;
  private readonly waits: { readonly end: number; readonly resolve: () => void }[] = [];
  readonly buffers: { readonly milliseconds: number; readonly waitingBefore: number }[] = [];
  readonly pacer = new Pacer(() => this.done(), () => this.now);
  /** Dispatches submitted so far. */
  submitted = 0;

  done(): Promise<void> {
    return new Promise((resolve) => {
      this.waits.push({ end: this.busyUntil, resolve });
      setImmediate(() => {
        const { end, resolve: first } = this.waits.shift()!;
        this.now = Math.max(this.now, end);
        first();
      });
    });
  }

  run(times: DispatchTimes, milliseconds: (i: number) => number, signal?: AbortSignal): Promise<void> {
    return this.pacer.turn(() =>
      this.pacer.submit(times, (from, to) => {
        let length = 0;
        for (let i = from; i < to; i++) length += milliseconds(i);
        this.buffers.push({ milliseconds: length, waitingBefore: this.busyUntil - this.now });
        this.busyUntil = Math.max(this.now, this.busyUntil) + length;
        this.submitted += to - from;
      }, signal),
    );
  }
}

function costs(count: number, flops: number): DispatchTimes {
  return new DispatchTimes(Array.from({ length: count }, () => ({ flops, bytes: 0 })));
}

test("buffers come to take the target on a fast and on a slow device, whatever the costs say", async () => {
  for (const [name, flops, ms] of [["H100", 2e9, 0.2], ["laptop", 2e9, 2], ["software", 2e9, 40], ["wrong by 30", 6e10, 2]] as const) {
    const device = new FakeDevice();
    const times = costs(1000, flops);
    for (let run = 0; run < 4; run++) await device.run(times, () => ms);
    await device.done();
    const total = 1000 * ms;
    const last = device.buffers.slice(-Math.max(1, Math.round(total / TARGET_MS)));
    assert.is(device.submitted, 4000);
    assert.ok(Math.max(...last.map((b) => b.milliseconds)) <= 1.5 * TARGET_MS, `${name}: ${JSON.stringify(last)}`);
    assert.ok(Math.min(...last.map((b) => b.milliseconds)) >= 0.5 * TARGET_MS, `${name}: ${JSON.stringify(last)}`);
    const longest = Math.max(...device.buffers.map((b) => b.milliseconds));
    assert.ok(longest <= 2 * TARGET_MS, `${name}: a buffer of ${longest} ms`);
  }
});

test("ops that are slower than their costs say get buffers of their own size", async () => {
  const device = new FakeDevice();
  const times = costs(200, 1e9);
  for (let run = 0; run < 6; run++) await device.run(times, (i) => (i < 100 ? 2 : 20));
  const last = device.buffers.slice(-22);
  assert.ok(last.every((b) => b.milliseconds >= 0.5 * TARGET_MS && b.milliseconds <= 1.6 * TARGET_MS), JSON.stringify(last));
});

test("the device always has work, and never more than two buffers of it", async () => {
  const device = new FakeDevice();
  const times = costs(1000, 1e9);
  for (let run = 0; run < 6; run++) await device.run(times, () => 1);
  const later = device.buffers.slice(20);
  assert.ok(later.length > 20);
  assert.ok(later.every((b) => b.waitingBefore > 0), "it had nothing to do before a buffer came");
  assert.ok(later.every((b) => b.waitingBefore <= 2 * TARGET_MS), "it had more than two buffers before it");
});

test("runs that are short are not waited for one by one", async () => {
  let asked = 0;
  let submitted = 0;
  const pacer = new Pacer(() => (asked++, Promise.resolve()), () => submitted * 1);
  const times = costs(10, 1e8);
  for (let run = 0; run < 500; run++) {
    await pacer.turn(() => pacer.submit(times, () => void submitted++));
  }
  assert.is(submitted, 500);
  assert.ok(asked <= 25, `asked ${asked} times in 500 ms of work`);
});

test("many short runs that are measured together come to be predicted as what one takes", async () => {
  for (const wrong of [0.1, 10]) {
    const device = new FakeDevice();
    await device.run(costs(1, 1e9), () => wrong); // the device seems as much faster or slower than it is for what follows
    await device.done();
    const times = costs(10, 1e9);
    for (let run = 0; run < 400; run++) await device.run(times, () => 0.5);
    const predicted = times.predict(NaN);
    assert.ok(predicted > 2.5 && predicted < 10, `predicted ${predicted} ms of 5`);
    assert.ok(device.buffers.length < 450, `${device.buffers.length} buffers for 400 short runs`);
  }
});

test("a signal stops a run before its next buffer", async () => {
  const device = new FakeDevice();
  const times = costs(1000, 2e9);
  for (let run = 0; run < 3; run++) await device.run(times, () => 2);
  const controller = new AbortController();
  const before = device.submitted;
  let stoppedAt = 0;
  const error = await device
    .run(times, (i) => {
      if (i === 200) {
        controller.abort();
        stoppedAt = device.buffers.length;
      }
      return 2;
    }, controller.signal)
    .then(() => undefined, (e: Error) => e);
  assert.is(error?.name, "AbortError");
  assert.is(device.buffers.length, stoppedAt + 1);
  assert.ok(device.submitted - before < 1000);
  await device.run(times, () => 2); // the next one is not disturbed
});

test("turns follow one another in the order of the calls, also after one that failed", async () => {
  const pacer = new Pacer(() => Promise.resolve());
  const order: string[] = [];
  const first = pacer.turn(async () => {
    order.push("first begins");
    await new Promise((resolve) => void setTimeout(resolve, 5));
    order.push("first ends");
    throw new Error("no");
  });
  const second = pacer.turn(() => void order.push("second"));
  const third = pacer.turn(() => void order.push("third"));
  assert.equal(order, ["first begins"]);
  assert.is(await first.then(() => "", (e: Error) => e.message), "no");
  await Promise.all([second, third]);
  assert.equal(order, ["first begins", "first ends", "second", "third"]);
});

/** A chain of products of large matrices, which takes seconds on a software adapter. */
function chain(g: Graph, length: number, n: number): ReturnType<Graph["input"]> {
  const w = g.input("w", f32([n, n]));
  let x = g.input("x", f32([n, n]));
  for (let i = 0; i < length; i++) x = matmul(g, x, w) as typeof x;
  return x;
}

test("a run in several buffers gives the bits of one, and reads asked for meanwhile come after it", async () => {
  const results: Float32Array[] = [];
  const buffers: number[] = [];
  for (const cut of [false, true]) {
    const device = await openDevice({ ...(process.env.LETHE_ADAPTER && { adapter: process.env.LETHE_ADAPTER }) });
    const g = new Graph();
    const n = 256;
    const program = await Program.create(device, g, { outputs: { y: chain(g, 60, n) }, poison: true });
    const x = new Float32Array(n * n).map((_, i) => Math.sin(i));
    const w = new Float32Array(n * n).map((_, i) => Math.cos(i * 0.7) * 0.08);
    if (cut) device.pacer.submit = piecewise(device.pacer, 7);
    const done = program.run({ x, w });
    const read = program.readFloats("y"); // not awaited before the run
    results.push(await read);
    await done;
    buffers.push(device.pacer.statistics.buffers);
    program.destroy();
    device.destroy();
  }
  assert.equal(results[0], results[1]);
  assert.ok(results[0]!.every(Number.isFinite));
});

/** Submits in buffers of so many dispatches, with a pause between them. */
function piecewise(pacer: Pacer, count: number): Pacer["submit"] {
  const whole = pacer.submit.bind(pacer);
  return async (times, submit, signal) => {
    await whole(new DispatchTimes([]), submit, signal);
    for (let from = 0; from < times.count; from += count) {
      submit(from, Math.min(times.count, from + count));
      await new Promise((resolve) => void setTimeout(resolve, 1));
    }
  };
}

test("a run on the device can be cancelled within two buffers", async () => {
  const device = await testDevice();
  const n = 1024;
  const g = new Graph();
  const program = await Program.create(device, g, { outputs: { y: chain(g, 150, n) } });
  program.write("x", normals(n * n));
  program.write("w", normals(n * n, 0.03));
  const controller = new AbortController();
  const started = performance.now();
  setTimeout(() => controller.abort(), 300);
  let abortedAt = 0;
  controller.signal.addEventListener("abort", () => (abortedAt = performance.now()));
  const error = await program.run({}, { signal: controller.signal }).then(() => undefined, (e: Error) => e);
  const stopped = performance.now();
  await device.settle();
  const idle = performance.now();
  assert.is(error?.name, "AbortError");
  const { longestMilliseconds } = device.pacer.statistics;
  const [cancelled, free, longest] = [stopped - abortedAt, idle - abortedAt, longestMilliseconds].map((ms) => `${ms.toFixed(0)} ms`);
  console.log(`cancelled ${cancelled} after the signal, the device free ${free} after; longest buffer ${longest}`);
  assert.ok(stopped - started < 3000, `${stopped - started} ms`);
  assert.ok(
    idle - abortedAt < 3 * longestMilliseconds + 200,
    `${idle - abortedAt} ms after the signal, buffers of at most ${longestMilliseconds}`,
  );
  program.destroy();
});

test("a state is whole for readers although the run that writes it takes several buffers", async () => {
  const device = await testDevice();
  const state = new Tensor(device, "state", f32([4])).write(Float32Array.of(1, 1, 1, 1));
  const g = new Graph();
  let x = scale(g, g.tensor(state), 2);
  for (let i = 0; i < 9; i++) x = scale(g, x, 2);
  const program = await Program.create(device, g, { outputs: {}, assigns: [[state, x]] });
  const before = device.pacer.submit;
  device.pacer.submit = piecewise(device.pacer, 2);
  const runs = [program.run(), program.run()];
  const read = await state.read();
  await Promise.all(runs);
  device.pacer.submit = before;
  assert.equal([...read], [2 ** 20, 2 ** 20, 2 ** 20, 2 ** 20]);
  program.destroy();
  state.destroy();
});

finish();
