import { test } from "uvu";
import * as assert from "uvu/assert";
import { BINDING_ALIGNMENT, type Claim, planMemory } from "../../../engine/runtime/plan/memory-plan.ts";

/** A random network: every step writes one tensor and reads some of those before it, mostly the last few. */
function randomClaims(steps: number): Claim[] {
  const claims: { bytes: number; writes: number[]; reads: number[] }[] = [];
  for (let step = 0; step < steps; step++) {
    for (let n = step === 0 ? 0 : Math.floor(Math.random() * 3); n > 0; n--) {
      const back = Math.random() < 0.8 ? Math.floor(Math.random() * 4) : Math.floor(Math.random() * step);
      const { writes, reads } = claims[Math.max(0, step - 1 - back)]!;
      if (reads.at(-1) !== step && writes[0] !== step) reads.push(step);
    }
    claims.push({ bytes: 16 * (1 + Math.floor(Math.random() * 1024)), writes: [step], reads: [] });
  }
  return claims;
}

const last = ({ writes, reads }: Claim): number => Math.max(...writes, ...reads);

test("tensors that are live at one time do not overlap, and no step reads and writes one buffer", () => {
  let shared = 0;
  for (let round = 0; round < 50; round++) {
    const claims = randomClaims(60);
    const { places, buffers, totalBytes, lowerBound } = planMemory(claims);
    claims.forEach((a, i) => {
      const { buffer, offset } = places[i]!;
      assert.is(offset % BINDING_ALIGNMENT, 0);
      assert.ok(offset + a.bytes <= buffers[buffer]!, "beyond its buffer");
      claims.forEach((b, j) => {
        if (i === j || places[j]!.buffer !== buffer) return;
        const [from, to] = [places[j]!.offset, places[j]!.offset + b.bytes];
        if (a.writes[0]! <= last(b) && b.writes[0]! <= last(a)) {
          assert.ok(offset + a.bytes <= from || to <= offset, "two live tensors overlap");
          shared++;
        }
        assert.not(
          a.writes.some((step) => b.writes.includes(step) || b.reads.includes(step)),
          "written in one buffer with another tensor of the step",
        );
      });
    });
    assert.ok(totalBytes >= lowerBound);
    assert.is(
      totalBytes,
      buffers.reduce((n, s) => n + s, 0),
    );
    assert.is(
      lowerBound,
      Math.max(...claims.map((_, step) => claims.reduce((n, c) => n + (c.writes[0]! <= step && step <= last(c) ? c.bytes : 0), 0))),
    );
  }
  assert.ok(shared > 0, "no buffer ever held two live tensors");
});

test("a chain of equal tensors needs two buffers", () => {
  const plan = planMemory(Array.from({ length: 20 }, (_, i) => ({ bytes: 256, writes: [i], reads: [i + 1] })));
  assert.equal(plan.buffers, [256, 256]);
  assert.is(plan.lowerBound, 512);
});

test("two small tensors that wait together lie in the buffer of a large one", () => {
  const { places, buffers } = planMemory([
    { bytes: 1024, writes: [0], reads: [1] },
    { bytes: 512, writes: [2], reads: [7] },
    { bytes: 512, writes: [3], reads: [6] },
    { bytes: 1024, writes: [8], reads: [9] },
  ]);
  assert.equal(buffers, [1024]);
  assert.is(places[1]!.offset + places[2]!.offset, 512);
});

test("packing again finds what largest area first does not", () => {
  // Stable Diffusion's blocks in small: skips that wait, and a wide hidden layer beside them.
  const width = (bytes: number, writes: number, ...reads: number[]): Claim => ({ bytes: bytes * 4096, writes: [writes], reads });
  const claims = [
    width(5, 0, 30),
    width(5, 1, 28),
    width(5, 1, 2, 9),
    width(5, 2, 3, 7),
    width(5, 3, 4),
    width(20, 4, 5),
    width(5, 5, 9),
    width(5, 9, 26),
    width(15, 20, 21, 24),
    width(15, 21, 22),
    width(5, 22, 25),
    width(10, 15, 16, 20),
    width(10, 16, 20),
  ];
  const { totalBytes, lowerBound } = planMemory(claims);
  assert.ok(totalBytes <= 1.1 * lowerBound, `${totalBytes} of ${lowerBound}`);
});

test("without sharing every tensor has a buffer of its own", () => {
  const claims = randomClaims(30);
  const plan = planMemory(claims, false);
  assert.is(new Set(plan.places.map((p) => p.buffer)).size, 30);
  assert.is(plan.totalBytes, claims.reduce((n, x) => n + x.bytes, 0));
});

test("nothing to plan takes nothing", () => {
  assert.equal(planMemory([]), { places: [], buffers: [], totalBytes: 0, lowerBound: 0 });
});

test.run();
