// The probes' arithmetic that needs no model, against numbers worked out by hand or by another way of computing them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { closedFormEncoding, normalSums, residual } from "../../../engine/attack/probes/closed-form.ts";
import { missingControls, probeResult } from "../../../engine/attack/probes/controls.ts";
import { parseComponents, parseNumbers } from "../../../engine/attack/probes/option-table.ts";
import { createNoisyPlan, createSamplerPlan, entryOf, noiseLevelAt } from "../../../engine/diffusion/schedulers/index.ts";
import { composePredictions } from "../../../engine/diffusion/steering/guided.ts";
import { latentMask } from "../../../engine/diffusion/steering/inpaint.ts";
import { slerp } from "../../../engine/diffusion/steering/inversion.ts";
import { logLikelihoodGradient } from "../../../engine/diffusion/steering/latent-classifier.ts";
import { expectedLikelihood, negativeLogLikelihood, normalDistance, psnr } from "../../../engine/diffusion/steering/likelihood.ts";
import { regularizeNoise } from "../../../engine/diffusion/steering/noise-regularization.ts";
import { SAFREE, SAFREE_ARTIST, safree, safreeLastStep } from "../../../engine/diffusion/steering/safree.ts";
import { manualSeed } from "../../../engine/runtime/random/random.ts";

const near = (a: number, b: number, tolerance = 1e-9): void => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);

const SD = {
  beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", steps_offset: 1, set_alpha_to_one: false, clip_sample: false,
};

test("a strength truncates in double arithmetic, and 0 leaves nothing", () => {
  assert.equal([entryOf(50, 0.58), entryOf(10, 0.3), entryOf(10, 1), entryOf(10, 0)], [22, 7, 0, 10]);
});

test("samplers begin in the middle at the list's own entries", () => {
  const times = (name: "ddim" | "pndm", from: number): number[] =>
    createSamplerPlan(name, { ...SD, skip_prk_steps: true }, 10, { from }).steps.map((s) => s.timestep);
  assert.equal(times("ddim", 7), [201, 101, 1]);
  assert.equal(times("pndm", 4), [601, 501, 401, 301, 201, 101, 1]);
  assert.throws(() => createSamplerPlan("dpm++2m", SD, 10, { from: 2 }), /cannot begin in the middle/);
  const lms = createSamplerPlan("lms", { ...SD, steps_offset: 0 }, 10, { from: 2 });
  near(noiseLevelAt(lms, new Float32Array(1000), 0).sigma, lms.sigmas![0]!);
  assert.equal(noiseLevelAt(lms, new Float32Array(1000), 8), { signal: 1, sigma: 0 });
});

test("extra noise: an eta above 1 is of the noisy plan only, and its scale multiplies the noise alone", () => {
  const noise = (eta: number, scale: number): number =>
    createNoisyPlan(SD, 10, eta, scale).steps[3]!.next.terms.find((t) => t.operand === "noise")!.coefficient;
  near(noise(1.5, 1) / noise(1, 1), 1.5);
  near(noise(1.5, 1.04) / noise(1.5, 1), 1.04);
  assert.throws(() => createNoisyPlan(SD, 10, -1, 1), /eta must be at least 0/);
});

test("composed predictions: one prompt is guidance, weights add up", () => {
  const [empty, a, b] = [Float32Array.of(1, 2), Float32Array.of(2, 2), Float32Array.of(1, 4)];
  assert.equal([...composePredictions([empty, a], [7.5])], [8.5, 2]);
  assert.equal([...composePredictions([empty, a, b], [2, -0.5])], [3, 1]);
});

test("a mask takes the pixel at each latent's corner, and must have area", () => {
  const data = new Uint8Array(64).fill(0);
  data[4 * 8 + 4] = 255;
  assert.equal([...latentMask({ data, width: 8, height: 8 }, 4)], [0, 0, 0, 1]);
  assert.throws(() => latentMask({ data: new Uint8Array(64), width: 8, height: 8 }, 4), /has no area/);
  assert.throws(() => latentMask({ data, width: 9, height: 8 }, 4), /not 9x8/);
});

test("likelihood, decibels and distances", () => {
  near(negativeLogLikelihood(Float32Array.of(0, 2)), 2 + Math.log(2 * Math.PI));
  near(expectedLikelihood(16384).mean, 23247.9, 0.1); // 4 x 64 x 64
  near(expectedLikelihood(16384).std, 90.5, 0.1);
  near(psnr([0, 0.1], [0, 0]), 10 * Math.log10(1 / 0.005));
  near(normalDistance([1, 3], [2, 6]), 4 + 1 + 4 - 2 * 2);
});

test("halfway between perpendicular vectors", () => {
  const at = (...data: number[]) => ({ data: Float32Array.from(data), shape: [2] });
  const { data } = slerp(at(1, 0), at(0, 1), 0.5);
  near(data[0]!, Math.SQRT1_2, 1e-7);
  near(data[1]!, Math.SQRT1_2, 1e-7);
});

/** The divergence of patches and the correlations, straight from their formulas; gradients of it by differences. */
function penalty(x: Float64Array, y: Float32Array, size: number, roll: number): { kl: number; correlation: number } {
  const moments = (of: ArrayLike<number>, top: number, left: number): [number, number] => {
    const list = Array.from({ length: 16 }, (_, k) => of[(top + (k >> 2)) * size + left + (k & 3)]!);
    const mean = list.reduce((a, b) => a + b) / 16;
    return [mean, list.reduce((a, b) => a + (b - mean) ** 2, 0) / 15];
  };
  let kl = 0;
  for (let top = 0; top < size; top += 4) {
    for (let left = 0; left < size; left += 4) {
      const [[m0, v0], [m1, v1]] = [moments(x, top, left), moments(y, top, left)];
      kl += Math.abs(Math.log((v1 + 1e-6) / (v0 + 1e-6)) + (v0 + (m0 - m1) ** 2) / (v1 + 1e-6) - 1);
    }
  }
  const mean = (dy: number, dx: number): number => {
    let sum = 0;
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) sum += x[i * size + j]! * x[((i - dy + size) % size) * size + ((j - dx + size) % size)]!;
    }
    return sum / size ** 2;
  };
  return { kl, correlation: mean(roll, 0) ** 2 + mean(0, roll) ** 2 };
}

test("regularisation steps along the gradients of divergence and correlation", () => {
  const size = 8;
  const random = manualSeed(3);
  const [x, y] = [Float32Array.from(random.randn([64])), Float32Array.from(random.randn([64]))];
  const moved = (options: { klWeight: number; correlationWeight: number }) =>
    regularizeNoise({ data: x, shape: [1, 1, size, size] }, y, { ...options, rounds: 1, rolls: 1, patch: 4 }, () => 3);
  for (const [which, step] of [
    ["kl", moved({ klWeight: 1e-3, correlationWeight: 0 })],
    ["correlation", moved({ klWeight: 0, correlationWeight: 1e-3 })],
  ] as const) {
    for (const i of [0, 9, 27, 63]) {
      const shifted = (by: number): number =>
        penalty(
          Float64Array.from(x, (v, k) => (k === i ? v + by : v)),
          y,
          size,
          3,
        )[which];
      const slope = (shifted(1e-4) - shifted(-1e-4)) / 2e-4;
      near((x[i]! - step[i]!) / 1e-3, slope, 2e-3 * Math.max(1, Math.abs(slope)));
    }
  }
});

test("the classifier's gradient keeps its digits at large logits", () => {
  const one = (logit: number): number => logLikelihoodGradient(logit, Float32Array.of(1))[0]!;
  near(one(0), 0.5);
  near(one(20) / Math.exp(-20), 1, 1e-6);
});

test("the closed form undoes an edit that can be undone, and its residual says so", () => {
  const width = 3;
  const random = manualSeed(1);
  const original = Float32Array.from(random.randn([12 * width]));
  // Edited keys are the original ones times an invertible map: the encoding times its inverse restores them.
  const map = [2, 0, 0, 0.5, 1, 0, 0, 0, 3];
  const edited = new Float32Array(original.length);
  for (let r = 0; r < 12; r++)
    for (let j = 0; j < 3; j++) for (let k = 0; k < 3; k++) edited[r * 3 + j]! += original[r * 3 + k]! * map[k * 3 + j]!;
  const sums = normalSums([{ edited, original }], width);
  const c = Float32Array.of(1, -2, 0.5);
  const adversarial = closedFormEncoding(c, sums, 1e-9);
  near(residual(adversarial, c, sums) / residual(c, c, sums), 0, 1e-9);
  assert.throws(() => normalSums([], width), /no keys and values/);
});

test("SAFREE: a token along the concept is flagged, another is not; the filter's steps are the published ones", () => {
  const row = (...x: number[]) => Float32Array.from(x);
  const encoding = { data: Float32Array.of(1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1), shape: [1, 4, 3] };
  // Without token 0 the prompt is far from the concept's axis; without token 1 it lies on it.
  const made = safree(encoding, 2, [row(0, 0, 1)], [row(1, 1, 0), row(0.1, 0, 1)]);
  assert.equal(made.flagged, [true, false]);
  assert.equal([...made.encoding.subarray(6, 9)], [0, 1, 0]);
  assert.equal([0.45, 0.52, 0.6].map((beta) => safreeLastStep(beta, SAFREE)), [0, 3, 10]);
  assert.equal([0.5, 0.55, 0.7].map((beta) => safreeLastStep(beta, SAFREE_ARTIST)), [0, 5, 10]);
  assert.throws(() => safree(encoding, 0, [], []), /0 tokens/);
});

test("controls: what was not given is missing, best-of-N counts once, curves count every point", () => {
  assert.equal(missingControls("noise-probe", { other: false, prompt: false, picture: true }).map((c) => c.name), ["never-saw"]);
  const tried = (control: string | undefined, ...successes: boolean[]) =>
    successes.map((success, timestep) => ({ ...(control !== undefined && { control }), timestep, judgement: { success } }));
  const best = probeResult("noise-probe", [...tried(undefined, false, true, true), ...tried("seeds", true), ...tried("never-saw", false)]);
  assert.equal(best.comparisons.map((c) => [c.control, c.probe, c.other]), [["seeds", 1, 1], ["never-saw", 1, 0]]);
  const curve = probeResult("img2img", [...tried(undefined, false, true, true), ...tried("unrelated", true, false, false)]);
  assert.equal(curve.comparisons.map((c) => [c.control, c.probe, c.other]), [["unrelated", 2, 1]]);
  assert.equal(curve.missing, ["never-saw"]);
});

test("lists of options", () => {
  assert.equal(parseNumbers("1, 1.17"), [1, 1.17]);
  assert.equal(parseComponents("a castle:4; a cross: -3"), [{ prompt: "a castle", weight: 4 }, { prompt: "a cross", weight: -3 }]);
  assert.ok(Number.isNaN(parseNumbers("1,,2")[1]));
});

test.run();
