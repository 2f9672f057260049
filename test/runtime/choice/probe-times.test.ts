// How candidates are timed against each other, with programs that only move a clock of their own.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ProbeTimes } from "../../../engine/runtime/choice/probe-times.ts";
import type { Device } from "../../../engine/runtime/device.ts";
import { DeviceLostError } from "../../../engine/runtime/errors.ts";
import type { Program } from "../../../engine/runtime/program.ts";

let clock = 0;
const { now } = performance;
test.before(() => void (performance.now = () => clock));
test.after(() => void (performance.now = now));

const DEVICE = { info: { software: true }, features: [], settle: () => Promise.resolve() } as unknown as Device;

interface Waiting {
  readonly milliseconds: number;
  runs: number;
  freed: boolean;
  readonly error?: Error;
}

const waiting = (milliseconds: number, error?: Error): Waiting => ({ milliseconds, runs: 0, freed: false, ...(error && { error }) });

function programOf(of: Waiting): Promise<Program> {
  const run = (): Promise<void> => {
    of.runs++;
    if (of.error) return Promise.reject(of.error);
    clock += of.milliseconds;
    return Promise.resolve();
  };
  return Promise.resolve({ run, destroy: () => void (of.freed = true) } as unknown as Program);
}

test("a candidate that is far slower than the best so far is run once to be compiled and once to be timed", async () => {
  const [fast, slow, near, broken] = [waiting(2), waiting(40), waiting(2.2), waiting(1, new Error("no such thing"))];
  const found = await new ProbeTimes(DEVICE).of([fast, slow, near, broken], programOf);
  assert.is(slow.runs, 2);
  assert.ok(fast.runs >= 6 && near.runs >= 3, `${fast.runs} and ${near.runs}`);
  assert.ok(found.get(fast)! < found.get(near)! && found.get(near)! < found.get(slow)!);
  assert.match((found.get(broken) as Error).message, /no such thing/);
  assert.ok([fast, slow, near, broken].every((w) => w.freed));
});

test("when the budget is spent every candidate is still timed, but in no further rounds", async () => {
  const times = new ProbeTimes(DEVICE, 10);
  const all = Array.from({ length: 4 }, () => waiting(4));
  await times.of(all.slice(0, 2), programOf);
  const found = await times.of(all.slice(2), programOf);
  assert.equal(all.slice(2).map((w) => w.runs), [3, 3]);
  assert.ok([...found.values()].every((x) => typeof x === "number" && x >= 4));
});

test("a lost device ends the timing and frees what was made", async () => {
  const [fine, lost] = [waiting(1), waiting(1, new DeviceLostError("gone"))];
  const error = await new ProbeTimes(DEVICE).of([fine, lost], programOf).catch((e: unknown) => e);
  assert.instance(error, DeviceLostError);
  assert.ok(fine.freed && lost.freed);
});

test.run();
