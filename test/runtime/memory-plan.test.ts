import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Interval, planMemory } from "../../engine/runtime/memory-plan.ts";

function randomIntervals(count: number): Interval[] {
  return Array.from({ length: count }, () => {
    const first = Math.floor(Math.random() * 40);
    return { bytes: 16 * (1 + Math.floor(Math.random() * 64)), first, last: first + Math.floor(Math.random() * 12) };
  });
}

test("no two intervals that are live at one time share a slot, and every slot is large enough", () => {
  for (let round = 0; round < 50; round++) {
    const intervals = randomIntervals(60);
    const plan = planMemory(intervals);
    intervals.forEach((a, i) => {
      assert.ok(plan.slots[plan.slotOf[i]!]! >= a.bytes);
      intervals.forEach((b, j) => {
        if (i < j && plan.slotOf[i] === plan.slotOf[j]) assert.ok(a.last < b.first || b.last < a.first, "two live intervals in one slot");
      });
    });
    assert.ok(plan.totalBytes >= plan.lowerBound);
    assert.is(plan.totalBytes, plan.slots.reduce((n, s) => n + s, 0));
  }
});

test("a chain of equal tensors needs two slots", () => {
  const chain = Array.from({ length: 20 }, (_, i) => ({ bytes: 64, first: i, last: i + 1 }));
  const plan = planMemory(chain);
  assert.is(plan.totalBytes, 128);
  assert.is(plan.lowerBound, 128);
});

test("the slot that lies idle shortest is taken, though a smaller one is free", () => {
  const plan = planMemory([{ bytes: 64, first: 0, last: 5 }, { bytes: 48, first: 0, last: 1 }, { bytes: 32, first: 6, last: 7 }]);
  assert.is(plan.slotOf[2], plan.slotOf[0]);
  assert.is(plan.totalBytes, 64 + 48);
});

test("without sharing every interval has a slot of its own", () => {
  const intervals = randomIntervals(30);
  const plan = planMemory(intervals, false);
  assert.is(new Set(plan.slotOf).size, 30);
  assert.is(plan.totalBytes, intervals.reduce((n, x) => n + x.bytes, 0));
});

test("nothing to plan takes nothing", () => {
  assert.equal(planMemory([]), { slotOf: [], slots: [], totalBytes: 0, lowerBound: 0 });
});

test.run();
