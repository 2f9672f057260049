import { test } from "uvu";
import * as assert from "uvu/assert";
import { attackTimesteps } from "../../../engine/attack/resolve.ts";
import { restoreRandom, saveRandom } from "../../../engine/runtime/random/portable.ts";
import { initialSimplex, likeliest, projectRow } from "../../../engine/attack/search/simplex.ts";
import { UsageError } from "../../../engine/runtime/errors.ts";
import { Generator } from "../../../engine/runtime/random/random.ts";

const sum = (row: Float32Array): number => row.reduce((a, b) => a + b, 0);

test("a projected row is the nearest point of the simplex (optimality conditions)", () => {
  for (const n of [1, 2, 7, 100, 8192]) {
    const row = Float32Array.from({ length: n }, () => (Math.random() - 0.3) * 4);
    const y = projectRow(row);
    assert.ok(Math.abs(sum(y) - 1) < 1e-5, `n=${n}: sums to ${sum(y)}`);
    // y = max(row - mu, 0): one shift for all positive entries, and none above it among the others.
    const shifts = [...row.keys()].filter((i) => y[i]! > 0).map((i) => row[i]! - y[i]!);
    const mu = shifts[0]!;
    assert.ok(shifts.every((s) => Math.abs(s - mu) < 1e-5), `n=${n}`);
    assert.ok(row.every((x, i) => y[i]! > 0 || x <= mu + 1e-5), `n=${n}`);
  }
});

test("the search starts from equal rows, or from projected uniform numbers", () => {
  const even = initialSimplex(3, 1000);
  assert.ok(even.every((x) => x === Math.fround(0.001)));
  const random = initialSimplex(3, 1000, new Generator(7));
  for (let j = 0; j < 3; j++) assert.ok(Math.abs(sum(random.subarray(j * 1000, (j + 1) * 1000)) - 1) < 1e-6);
  assert.equal(random, initialSimplex(3, 1000, new Generator(7)));
  assert.not.equal(random, initialSimplex(3, 1000, new Generator(8)));
});

test("of equally likely tokens the lowest id is taken", () => {
  const rows = Float32Array.of(0.2, 0.4, 0.4, 0, 1, 0, 0, 0, 0.25, 0.25, 0.25, 0.25);
  assert.equal(likeliest(rows, 4, 1).map(([token]) => token!.id), [1, 0, 0]);
});

test("timesteps are the middles of equal parts", () => {
  assert.equal(attackTimesteps(1000, 10), [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]);
  assert.equal(attackTimesteps(1000, 2), [250, 750]); // as in the recorded runs
  assert.equal(attackTimesteps(1000, 50).slice(0, 3), [10, 30, 50]);
  assert.is(attackTimesteps(1000, 3).join(), "166,499,832");
  assert.is(attackTimesteps(1000, 300).length, 300);
  for (const bad of [0, 1001, 2.5, Number.NaN]) assert.throws(() => attackTimesteps(1000, bad), (e: unknown) => e instanceof UsageError);
});

test("the random attacker's tokens are the reference's: torch's stream after the first picture's noise", () => {
  const random = new Generator(180); // a recorded run: k = 3, vocabulary 1000, latent 16x16
  random.randn([1, 4, 16, 16]);
  assert.equal(
    [...random.randint(1000, 3), ...random.randint(1000, 3), ...random.randint(1000, 3), ...random.randint(1000, 3)],
    [489, 956, 690, 70, 541, 765, 120, 21, 549, 962, 854, 526],
  );
});

test("a generator survives JSON", () => {
  const random = new Generator(3);
  random.randn([5]);
  random.rand([100]);
  const restored = restoreRandom(JSON.parse(JSON.stringify(saveRandom(random))));
  assert.equal([restored.randn([3]), restored.rand([700])], [random.randn([3]), random.rand([700])]);
  for (const bad of [null, {}, { words: [1, 2], index: 0 }, { words: "x", index: 0 }]) {
    assert.throws(
      () => restoreRandom(bad),
      (e: unknown) => e instanceof UsageError,
    );
  }
});

test.run();
