import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  addNoise,
  alphasCumprod,
  betas,
  createSamplerPlan,
  getVelocity,
  modelInput,
  noiseScheduleOnly,
  parseSchedulerConfig,
  pipelineSchedulerConfig,
  runSamplerStep,
  SchedulerConfigError,
  schedulerNameOf,
  startSampler,
  type SamplerPlan,
} from "../../engine/diffusion/schedulers/index.ts";
import { lmsCoefficient } from "../../engine/diffusion/schedulers/lms.ts";
import { floats, readFixture, readJson, relativeL2 } from "../support/fixtures.ts";

interface Case {
  readonly name: string;
  readonly cls: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly steps: number;
  readonly eta: number | null;
  readonly init_noise_sigma: number;
  readonly model_calls: number;
}
const fixture = readJson<{ readonly common_config: Readonly<Record<string, unknown>>; readonly cases: readonly Case[] }>(
  "schedulers/schedulers.json",
);
const tensors = readFixture("schedulers/schedulers.safetensors");
const sd = fixture.common_config;
const unit = floats(tensors, "x_unit");
const noises = floats(tensors, "noise");
const TOLERANCE = 1e-5;
const test = suite("schedulers");

/** The fixture's stand-in for the model: 0.3 sin(t / 100) x + 0.1. */
function fakeModel(x: Float32Array, t: number): Float32Array {
  const c = Math.fround(0.3 * Math.sin(t / 100));
  return x.map((v) => Math.fround(c * v) + Math.fround(0.1));
}

function trajectory(plan: SamplerPlan): Float32Array[] {
  const state = startSampler(plan, unit);
  const samples = [state.sample];
  plan.steps.forEach((step, i) => {
    const noise = step.needsNoise ? noises.slice(i * unit.length, (i + 1) * unit.length) : undefined;
    runSamplerStep(step, state, fakeModel(modelInput(step, state), step.timestep), noise);
    samples.push(state.sample);
  });
  return samples;
}

for (const c of fixture.cases) {
  test(`${c.name}: timesteps, sigmas and trajectory of ${c.cls}`, () => {
    const plan = createSamplerPlan(schedulerNameOf(c.cls), { ...sd, ...c.config }, c.steps, { eta: c.eta ?? 0 });
    assert.is(plan.steps.length, c.model_calls);
    assert.ok(Math.abs(plan.initNoiseSigma / c.init_noise_sigma - 1) < 1e-7, `initNoiseSigma ${plan.initNoiseSigma}`);
    const times = plan.steps.map((s) => s.timestep);
    const expectedTimes = floats(tensors, `${c.name}.timesteps`);
    if (times.every(Number.isInteger)) assert.equal(times, [...expectedTimes]);
    else assert.ok(relativeL2(times, expectedTimes) < 1e-6, `timesteps ${relativeL2(times, expectedTimes)}`);
    assert.is(plan.sigmas !== undefined, tensors.has(`${c.name}.sigmas`));
    if (plan.sigmas) assert.ok(relativeL2(plan.sigmas, floats(tensors, `${c.name}.sigmas`)) < 1e-6);
    const expected = floats(tensors, `${c.name}.traj`);
    const samples = trajectory(plan);
    assert.is(samples.length * unit.length, expected.length);
    samples.forEach((sample, i) => {
      const error = relativeL2(sample, expected.subarray(i * unit.length, (i + 1) * unit.length));
      assert.ok(error <= TOLERANCE, `after ${i} steps: relative L2 ${error}`);
    });
  });
}

for (const c of fixture.cases.filter((x) => tensors.has(`${x.name}.lms_coeffs`))) {
  test(`${c.name}: multistep coefficients`, () => {
    const plan = createSamplerPlan("lms", { ...sd, ...c.config }, c.steps);
    const sigmas = plan.sigmas as readonly number[];
    const all = plan.steps.flatMap((_, i) =>
      [0, 1, 2, 3].map((back) => (back <= i ? lmsCoefficient(sigmas, i, Math.min(i + 1, 4), back) : 0)),
    );
    assert.ok(relativeL2(all, floats(tensors, `${c.name}.lms_coeffs`)) < TOLERANCE);
  });
}

/** How many elements are not the very same number. */
function different(a: Float32Array, b: Float32Array): number {
  return a.reduce((n, v, i) => n + (v === b[i] ? 0 : 1), Math.abs(a.length - b.length));
}

test("betas and alphas_cumprod have torch's bits", () => {
  const config = parseSchedulerConfig("ddim", sd);
  assert.is(different(betas(config), floats(tensors, "betas")), 0);
  assert.is(different(alphasCumprod(config), floats(tensors, "alphas_cumprod")), 0);
});

test("addNoise and getVelocity", () => {
  const ac = alphasCumprod(parseSchedulerConfig("ddpm", sd));
  const [x0, noise, out, velocity] = ["x0", "noise", "out", "velocity"].map((k) => floats(tensors, `add_noise.${k}`)) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const times = tensors.get("add_noise.t")?.data as Int32Array;
  const n = x0.length / times.length;
  times.forEach((t, row) => {
    const part = (x: Float32Array) => x.slice(row * n, (row + 1) * n);
    assert.ok(relativeL2(addNoise(ac, part(x0), part(noise), t), part(out)) <= 1e-6, `addNoise at t=${t}`);
    assert.ok(relativeL2(getVelocity(ac, part(x0), part(noise), t), part(velocity)) <= 1e-6, `getVelocity at t=${t}`);
  });
  assert.throws(() => addNoise(ac, x0, noise, 1000), /0\.\.999, got 1000/);
  assert.throws(() => addNoise(ac, x0, noise.slice(1), 1), /elements/);
});

// A model that knows the clean sample (0.5 everywhere) answers exactly; then a deterministic sampler must stay on the straight path alpha
// x0 + sigma eps, so the noise seen at every step is the first one. DDIM and PNDM step by the leading stride whatever the spacing, so only
// that spacing keeps them on the path;
// and PNDM averages outputs of several steps, which are equal only where the output is the noise.
const deterministic = [
  ["ddim", { clip_sample: false }],
  ["pndm", { skip_prk_steps: true }],
  ["euler", {}],
  ["lms", {}],
  ["dpm++2m", {}],
  ["dpm++2m", { solver_type: "heun" }],
] as const;
for (const [name, json] of deterministic) {
  test(`${name} ${Object.keys(json).join(" ")}: an exact model keeps the sample on its path, for all predictions and spacings`, () => {
    for (const prediction_type of name === "pndm" ? ["epsilon"] : ["epsilon", "v_prediction", "sample"]) {
      for (const timestep_spacing of name === "ddim" || name === "pndm" ? ["leading"] : ["leading", "trailing", "linspace"]) {
        for (const beta_schedule of ["scaled_linear", "linear", "squaredcos_cap_v2"]) {
          // its last alphas_cumprod is 2e-9: nothing is left of x0
          if (beta_schedule === "squaredcos_cap_v2" && timestep_spacing !== "leading") continue;
          const config = { ...sd, ...json, timestep_spacing, prediction_type, beta_schedule };
          const plan = createSamplerPlan(name, config, 7);
          const ac = alphasCumprod(parseSchedulerConfig(name, config));
          const state = startSampler(plan, unit);
          let first: Float32Array | undefined;
          plan.steps.forEach((step, i) => {
            const sigma = plan.sigmas?.[i];
            const a = sigma === undefined ? (ac[step.timestep] as number) : 1 / (sigma * sigma + 1);
            const [alpha, s] = [Math.sqrt(a), Math.sqrt(1 - a)];
            const x = modelInput(step, state);
            const eps = x.map((v) => (v - alpha * 0.5) / s);
            first ??= eps;
            if (i < plan.steps.length - 1) {
              assert.ok(
                relativeL2(eps, first) < 1e-4,
                `${prediction_type} ${timestep_spacing} ${beta_schedule}, step ${i}: ${relativeL2(eps, first)}`,
              );
            }
            runSamplerStep(
              step,
              state,
              prediction_type === "epsilon" ? eps : prediction_type === "sample" ? x.map(() => 0.5) : eps.map((e) => alpha * e - s * 0.5),
            );
          });
          if (plan.sigmas) assert.ok(Math.max(...state.sample.map((v) => Math.abs(v - 0.5))) < 1e-3);
        }
      }
    }
  });
}

test("no step has more than eight operands, and each operand appears once", () => {
  for (const c of fixture.cases) {
    const plan = createSamplerPlan(schedulerNameOf(c.cls), { ...sd, ...c.config }, c.steps, { eta: c.eta ?? 0 });
    for (const step of plan.steps) {
      for (const { terms } of [step.next, ...step.stores.map((s) => s.value)]) {
        assert.ok(terms.length >= 1 && terms.length <= 8);
        assert.is(new Set(terms.map((t) => t.operand)).size, terms.length);
        for (const { operand, coefficient } of terms) {
          assert.ok(Number.isFinite(coefficient));
          if (typeof operand === "number") assert.ok(operand < plan.historySlots);
        }
      }
    }
  }
});

test("one step, and as many steps as there are timesteps", () => {
  for (const [name, json] of [
    ["ddim", { clip_sample: false }],
    ["pndm", { skip_prk_steps: true }],
    ["euler", {}],
    ["euler-ancestral", {}],
    ["lms", {}],
    ["dpm++2m", {}],
  ] as const) {
    for (const steps of [1, 2, 1000]) {
      const plan = createSamplerPlan(name, { ...sd, ...json }, steps);
      for (const sample of trajectory({ ...plan, steps: plan.steps.slice(0, 40) })) {
        assert.ok(sample.every(Number.isFinite), `${name}, ${steps} steps`);
      }
    }
  }
  assert.equal(createSamplerPlan("pndm", { ...sd, skip_prk_steps: true }, 1).steps.map((s) => s.timestep), [0]);
});

test("what the pipeline and the attack's reference make of a model's file", () => {
  const file = {
    _class_name: "PNDMScheduler",
    ...sd,
    skip_prk_steps: true,
    timestep_spacing: "leading",
    steps_offset: 0,
    clip_sample: true,
    prediction_type: "v_prediction",
  };
  assert.is(pipelineSchedulerConfig(file)["steps_offset"], 1);
  assert.is(pipelineSchedulerConfig(file)["clip_sample"], false);
  assert.is(file.steps_offset, 0);
  const lms = createSamplerPlan("lms", noiseScheduleOnly(file), 10);
  assert.is(lms.steps[1]?.timestep, 888);
  assert.ok(Math.abs(lms.initNoiseSigma - 14.614645) < 1e-5);
});

function refuse(pattern: RegExp, act: () => unknown): void {
  try {
    act();
  } catch (error) {
    assert.instance(error, SchedulerConfigError);
    assert.match((error as Error).message, pattern);
    return;
  }
  assert.unreachable(`expected an error that matches ${pattern}`);
}

test("what is not supported is refused by name", () => {
  refuse(/"HeunDiscreteScheduler"/, () => schedulerNameOf("HeunDiscreteScheduler"));
  refuse(/"constructor"/, () => schedulerNameOf("constructor"));
  refuse(/ddim: thresholding is true/, () => createSamplerPlan("ddim", { thresholding: true }, 10));
  refuse(/rescale_betas_zero_snr is true/, () => createSamplerPlan("ddim", { rescale_betas_zero_snr: true }, 10));
  refuse(/pndm: skip_prk_steps is false/, () => createSamplerPlan("pndm", sd, 10));
  refuse(/algorithm_type is "dpmsolver"/, () => createSamplerPlan("dpm++2m", { algorithm_type: "dpmsolver" }, 10));
  refuse(/solver_order is 3; expected one of 1, 2/, () => createSamplerPlan("dpm++2m", { solver_order: 3 }, 10));
  refuse(/beta_schedule is "sigmoid"/, () => createSamplerPlan("ddim", { beta_schedule: "sigmoid" }, 10));
  refuse(/prediction_type is "flow"/, () => createSamplerPlan("lms", { prediction_type: "flow" }, 10));
  refuse(/trained_betas/, () => createSamplerPlan("lms", { trained_betas: [0.1] }, 10));
  refuse(/beta_start is "a"/, () => createSamplerPlan("lms", { beta_start: "a" }, 10));
  refuse(/steps must be a whole number in 1\.\.1000, got 0/, () => createSamplerPlan("lms", sd, 0));
  refuse(/steps_offset/, () => createSamplerPlan("ddim", { ...sd, steps_offset: 1 }, 1000));
  refuse(/eta is 0\.5, but only ddim/, () => createSamplerPlan("lms", sd, 10, { eta: 0.5 }));
  refuse(/eta must be/, () => createSamplerPlan("ddim", sd, 10, { eta: 2 }));
  assert.throws(() => {
    const plan = createSamplerPlan("euler-ancestral", sd, 2);
    runSamplerStep(plan.steps[0] as SamplerPlan["steps"][number], startSampler(plan, unit), unit);
  }, /noise is needed/);
});

test.run();
