// Variants of schedulers that no recorded trajectory has, against the published formulas in float64.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type SchedulerJson,
  type SchedulerName,
  alphasCumprod,
  createSamplerPlan,
  modelInput,
  parseSchedulerConfig,
  runSamplerStep,
  startSampler,
} from "../../engine/diffusion/schedulers/index.ts";
import { relativeL2 } from "../support/fixtures.ts";

const COMMON: SchedulerJson = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", num_train_timesteps: 1000 };
const UNIT = Float32Array.from({ length: 16 }, (_, i) => 1.2 * Math.cos(2.3 * i));
const STEPS = 6;
const NOISES = Array.from({ length: STEPS }, (_, s) => Float32Array.from({ length: 16 }, (_x, i) => Math.sin(1 + i * (s + 1))));

/** In place of a model. */
const output = (x: ArrayLike<number>, t: number): Float32Array => Float32Array.from(x, (v) => 0.4 * Math.sin(t / 90) * v + 0.2);

const ac = alphasCumprod(parseSchedulerConfig("ddim", COMMON));

interface Walk {
  readonly timesteps: readonly number[];
  /** Samples, the first one included. */
  readonly path: Float32Array[];
}

function walk(name: SchedulerName, json: SchedulerJson): Walk {
  const plan = createSamplerPlan(name, { ...COMMON, ...json }, STEPS);
  const state = startSampler(plan, UNIT);
  const path = [state.sample.slice()];
  plan.steps.forEach((step, i) => {
    runSamplerStep(step, state, output(modelInput(step, state), step.timestep), step.needsNoise ? NOISES[i] : undefined);
    path.push(state.sample.slice());
  });
  return { timesteps: plan.steps.map((s) => s.timestep), path };
}

function same({ path }: Walk, expected: readonly ArrayLike<number>[]): void {
  assert.is(path.length, expected.length);
  path.forEach((sample, i) =>
    assert.ok(relativeL2(sample, expected[i]!) < 1e-5, `after step ${i}: off by ${relativeL2(sample, expected[i]!)}`),
  );
}

test("DPM-Solver++(2M) in Heun's form (arXiv 2211.01095, section 4; diffusers `solver_type` heun)", () => {
  const taken = walk("dpm++2m", { algorithm_type: "dpmsolver++", solver_order: 2, solver_type: "heun", lower_order_final: false });
  const of = (t: number): { alpha: number; sigma: number; lambda: number } => {
    const [alpha, sigma] = [Math.sqrt(ac[t]!), Math.sqrt(1 - ac[t]!)];
    return { alpha, sigma, lambda: Math.log(alpha / sigma) };
  };
  const expected: number[][] = [[...UNIT]];
  const clean: number[][] = [];
  taken.timesteps.forEach((t, i) => {
    const x = expected.at(-1)!;
    const [from, to] = [of(t), of(taken.timesteps[i + 1] ?? 0)];
    const eps = output(x, t);
    const d0 = x.map((v, j) => (v - from.sigma * eps[j]!) / from.alpha);
    const h = to.lambda - from.lambda;
    const growth = Math.exp(-h) - 1;
    const r = i === 0 ? 1 : (from.lambda - of(taken.timesteps[i - 1]!).lambda) / h;
    const d1 = i === 0 ? d0.map(() => 0) : d0.map((v, j) => (v - clean.at(-1)![j]!) / r);
    clean.push(d0);
    expected.push(x.map((v, j) => (to.sigma / from.sigma) * v - to.alpha * growth * d0[j]! + to.alpha * (growth / h + 1) * d1[j]!));
  });
  same(taken, expected);
});

for (const { variance, clip } of [{ variance: "fixed_large", clip: undefined }, { variance: "fixed_small", clip: 0.7 }] as const) {
  test(`DDPM with variance ${variance}${clip === undefined ? "" : `, the clean sample clipped to ${clip}`} (arXiv 2006.11239, section ` +
    "3.2 and equation 7)", () => {
    const taken = walk("ddpm", {
      variance_type: variance,
      clip_sample: clip !== undefined,
      ...(clip !== undefined && { clip_sample_range: clip }),
    });
    const stride = Math.floor(1000 / STEPS);
    const expected: number[][] = [[...UNIT]];
    let clipped = 0;
    taken.timesteps.forEach((t, i) => {
      const x = expected.at(-1)!;
      const [a, before] = [ac[t]!, t >= stride ? ac[t - stride]! : 1];
      const beta = 1 - a / before;
      const eps = output(x, t);
      const deviation = t === 0 ? 0 : Math.sqrt(variance === "fixed_large" ? beta : ((1 - before) / (1 - a)) * beta);
      expected.push(
        x.map((v, j) => {
          const raw = (v - Math.sqrt(1 - a) * eps[j]!) / Math.sqrt(a);
          const clean = clip === undefined ? raw : Math.min(clip, Math.max(-clip, raw));
          if (clean !== raw) clipped++;
          return (
            ((Math.sqrt(before) * beta) / (1 - a)) * clean +
            ((Math.sqrt(a / before) * (1 - before)) / (1 - a)) * v +
            deviation * NOISES[i]![j]!
          );
        }),
      );
    });
    same(taken, expected);
    assert.is(clipped > 0, clip !== undefined);
  });
}

test("Euler ancestral has no Karras sigmas, whatever the file says (diffusers v0.21, EulerAncestralDiscreteScheduler)", () => {
  assert.equal(walk("euler-ancestral", { use_karras_sigmas: true }), walk("euler-ancestral", {}));
  assert.not.equal(walk("euler", { use_karras_sigmas: true }), walk("euler", {}));
});

test.run();
