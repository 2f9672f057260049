import {
  addNoise,
  alphasCumprod,
  betas,
  createSamplerPlan,
  getVelocity,
  modelInput,
  parseSchedulerConfig,
  runSamplerStep,
  schedulerNameOf,
  startSampler,
} from "../../diffusion/schedulers/index.ts";
import { lmsCoefficient } from "../../diffusion/schedulers/lms.ts";
import type { Check, Form } from "../check.ts";
import { TOLERANCES } from "../rows.ts";
import type { Case, Golden, Json } from "../golden.ts";

const TIMESTEP_TOLERANCE = 1e-6;

/** The formula in place of a model: eps(x, t) = c(t) x + offset, c(t) = amplitude sin(t / period). */
interface StandIn {
  readonly amplitude: number;
  readonly period: number;
  readonly offset: number;
}

/** The stand-in of a manifest without `fake_model_constants`. */
const STAND_IN: StandIn = { amplitude: 0.3, period: 100, offset: 0.1 };

function standInOf(golden: Golden): StandIn {
  if (golden.json["fake_model_constants"] === undefined) return STAND_IN;
  const stated = golden.object("fake_model_constants");
  return {
    amplitude: golden.number("amplitude", stated),
    period: golden.number("period", stated),
    offset: golden.number("offset", stated),
  };
}

/** c(t) is computed in float64 and applied in float32, as the reference does. */
function predict({ amplitude, period, offset }: StandIn, x: Float32Array, t: number): Float32Array {
  const c = Math.fround(amplitude * Math.sin(t / period));
  return x.map((v) => Math.fround(c * v) + Math.fround(offset));
}

/** `schedulers`: timesteps, noise levels and whole trajectories under the file's stand-in for a model. Needs no device. */
export const schedulers: Form = async (check) => {
  const { golden, rows } = check;
  const common = golden.object("common_config");
  const config = parseSchedulerConfig("ddim", common);
  const ac = alphasCumprod(config);
  await rows.guard("noise schedule", "betas", async () => {
    await check.compare("noise schedule", "betas", betas(config), 0, { key: "betas", measure: "mismatches" });
    await check.compare("noise schedule", "alphas_cumprod", ac, 0, { key: "alphas_cumprod", measure: "mismatches" });
  });
  if (golden.has("add_noise.x0")) await rows.guard("add_noise", "out", () => checkAddNoise(check, ac));
  const given: Given = { common, standIn: standInOf(golden), unit: await golden.floats("x_unit"), noises: await golden.floats("noise") };
  await check.cases("traj", (c) => checkTrajectory(check, c, given));
};

/** What all trajectories of a file share. */
interface Given {
  readonly common: Json;
  readonly standIn: StandIn;
  /** Unit-normal initial latent. */
  readonly unit: Float32Array;
  /** One noise of the latent's size for each step. */
  readonly noises: Float32Array;
}

async function checkAddNoise(check: Check, ac: Float32Array): Promise<void> {
  const { golden } = check;
  const [x0, noise] = [await golden.floats("add_noise.x0"), await golden.floats("add_noise.noise")];
  const times = await golden.ints("add_noise.t");
  const n = x0.length / times.length;
  for (const [tensor, make] of [["out", addNoise], ["velocity", getVelocity]] as const) {
    const actual = [...times].flatMap((t, i) => [...make(ac, x0.subarray(i * n, (i + 1) * n), noise.subarray(i * n, (i + 1) * n), t)]);
    await check.compare("add_noise", tensor, actual, TOLERANCES.opForward);
  }
}

async function checkTrajectory(check: Check, c: Case, given: Given): Promise<void> {
  const { golden, rows } = check;
  const { common, standIn, unit, noises } = given;
  const name = schedulerNameOf(c["cls"]);
  const eta = typeof c["eta"] === "number" ? c["eta"] : 0;
  const plan = createSamplerPlan(name, { ...common, ...golden.object("config", c) }, golden.number("steps", c), { eta });
  if (typeof c["init_noise_sigma"] === "number") {
    rows.error(c.name, "init_noise_sigma", Math.abs(plan.initNoiseSigma / c["init_noise_sigma"] - 1), TIMESTEP_TOLERANCE);
  }
  await check.compare(c.name, "timesteps", plan.steps.map((s) => s.timestep), TIMESTEP_TOLERANCE);
  await check.compare(c.name, "sigmas", plan.sigmas ?? [], TIMESTEP_TOLERANCE, { optional: true });
  if (golden.has(`${c.name}.lms_coeffs`)) {
    const sigmas = plan.sigmas ?? [];
    const order = golden.shape(`${c.name}.lms_coeffs`)[1]!;
    const backs = Array.from({ length: order }, (_, back) => back);
    const all = plan.steps.flatMap((_, i) =>
      backs.map((back) => (back <= i ? lmsCoefficient(sigmas, i, Math.min(i + 1, order), back) : 0)),
    );
    await check.compare(c.name, "lms_coeffs", all, TOLERANCES.opForward);
  }
  const state = startSampler(plan, unit);
  const path = [...state.sample];
  plan.steps.forEach((step, i) => {
    const noise = step.needsNoise ? noises.slice(i * unit.length, (i + 1) * unit.length) : undefined;
    runSamplerStep(step, state, predict(standIn, modelInput(step, state), step.timestep), noise);
    path.push(...state.sample);
  });
  await check.compare(c.name, "traj", path, TOLERANCES.opForward);
}
