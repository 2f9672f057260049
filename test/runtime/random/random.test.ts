import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Generator, manualSeed } from "../../../engine/runtime/random/random.ts";
import { floats, readFixture, readJson } from "../../support/fixtures.ts";

interface Draw {
  readonly shape: number[];
  readonly head: number[];
  readonly tail?: number[];
}
interface Fixture {
  readonly randn: readonly (Draw & { readonly seed: number; readonly sum_f64: number; readonly sumsq_f64: number })[];
  readonly sequences: readonly { readonly seed: number; readonly consecutive: readonly Draw[] }[];
  readonly uniform: { readonly seed: number; readonly values: number[] };
  readonly randint: { readonly seed: number; readonly high: number; readonly values: number[] };
}
const fixture = readJson<Fixture>("torch-rng.json");
const test = suite("random");

for (const c of fixture.randn) {
  test(`randn(${c.shape.join(", ")}) after manual_seed(${c.seed}) has torch's bits`, () => {
    const x = manualSeed(c.seed).randn(c.shape);
    assert.equal(Array.from(x.subarray(0, c.head.length)), c.head);
    assert.equal(Array.from(x.subarray(-(c.tail as number[]).length)), c.tail);
    // Over every element: with 24-bit values of this size the float64 sum is exact, so one wrong bit anywhere shows.
    assert.is(x.reduce((s, v) => s + v, 0), c.sum_f64);
    assert.ok(Math.abs(x.reduce((s, v) => s + v * v, 0) / c.sumsq_f64 - 1) < 1e-13);
  });
}

for (const { seed, consecutive } of fixture.sequences) {
  test(`consecutive calls after manual_seed(${seed}) carry the state over`, () => {
    const generator = manualSeed(seed);
    for (const c of consecutive) assert.equal(Array.from(generator.randn(c.shape).subarray(0, c.head.length)), c.head);
  });
}

test("a whole latent has torch's bits, element by element", () => {
  const expected = floats(readFixture("sld/sld.safetensors"), "attack.init_latent");
  assert.equal(manualSeed(4242).randn([1, 4, 16, 16]), expected);
});

test("rand and randint have torch's bits", () => {
  const { uniform, randint } = fixture;
  assert.equal([...manualSeed(uniform.seed).rand([uniform.values.length])], uniform.values);
  assert.equal([...manualSeed(randint.seed).randint(randint.high, randint.values.length)], randint.values);
});

test("only the low 32 bits of a seed count, and a negative seed wraps", () => {
  assert.equal(manualSeed(2 ** 40 + 7).randn([20]), manualSeed(7).randn([20]));
  assert.equal(manualSeed(-1).randn([20]), manualSeed(0xffffffff).randn([20]));
  assert.equal(manualSeed(2n ** 64n - 1n).randn([20]), manualSeed(-1).randn([20]));
});

test("a saved state and a clone go on with the same draws, the waiting normal included", () => {
  const generator = manualSeed(3);
  generator.randn([5]); // leaves one normal waiting
  const state = generator.saveState();
  const copy = generator.clone();
  const expected = [generator.randn([3]), generator.randn([33]), generator.rand([700])];
  assert.equal([copy.randn([3]), copy.randn([33]), copy.rand([700])], expected);
  const restored = new Generator().restoreState(state);
  assert.equal([restored.randn([3]), restored.randn([33]), restored.rand([700])], expected);
});

test("manualSeed drops the waiting normal", () => {
  const generator = manualSeed(3);
  generator.randn([5]);
  assert.equal(generator.manualSeed(9).randn([5]), manualSeed(9).randn([5]));
});

test("bad arguments are named", () => {
  assert.throws(() => manualSeed(0.5), /seed must be an integer.*0\.5/);
  assert.throws(() => manualSeed(2 ** 60), /bigint/);
  assert.throws(() => manualSeed(0).randn([2, -1]), /randn: shape.*\[2, -1\]/);
  assert.throws(() => manualSeed(0).randint(0, 1), /high must be/);
  assert.throws(() => new Generator().restoreState({ words: new Uint32Array(3), index: 0, cachedNormal: undefined }), /3 words/);
});

test.run();
