import { SCHEDULER_NAMES, type SamplerPlan, entryOf, noiseLevelAt } from "../../../diffusion/schedulers/index.ts";
import { encodeSample, noised } from "../../../diffusion/steering/encode.ts";
import { keepOutside, latentMask } from "../../../diffusion/steering/inpaint.ts";
import { manualSeed } from "../../../runtime/random/random.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { Form } from "../../check.ts";
import type { Case, Json } from "../../golden.ts";
import { type Subject, caseForm, stepsOf, unetField } from "./subject.ts";

/** `img2img`: a picture noised to an intermediate timestep and denoised. */
export const img2img: Form = caseForm(unetField, checkImg2img, checkDraws);

/** `inpaint`: the same with latents outside a mask put back after every step. */
export const inpaint: Form = caseForm(unetField, checkInpaint, checkDraws);

/** The draws recorded are those of the seed: the VAE's sample, then the noise. */
async function checkDraws(check: Subject): Promise<void> {
  const { golden } = check;
  const random = manualSeed(golden.number("seed"));
  for (const tensor of ["vae_noise", "noise"]) {
    await check.compare("", `${tensor} of the seed`, random.randn(golden.shape(tensor)), 1e-6, { key: tensor });
  }
}

/** The scheduler that a case names, and where its strength enters. @throws FormatError for one that is not known */
export function enteringPlan(subject: Subject, steps: number, c: Json): SamplerPlan {
  const { golden } = subject;
  const scheduler = golden.choice("scheduler", Object.fromEntries(SCHEDULER_NAMES.map((name) => [name, name])), c);
  return subject.plan(scheduler, steps, entryOf(steps, golden.number("strength", c)));
}

async function pictureLatents(subject: Subject): Promise<NDArray> {
  return encodeSample(subject.model, await subject.picture("picture"), await subject.golden.floats("vae_noise"));
}

async function checkImg2img(subject: Subject, c: Case): Promise<void> {
  const { golden, rows, model } = subject;
  const plan = enteringPlan(subject, golden.number("steps"), c);
  rows.compare(c.name, "timesteps", plan.steps.map((s) => s.timestep), golden.numbers("timesteps", c), 1e-6);
  const start = noised(await pictureLatents(subject), await golden.floats("noise"), noiseLevelAt(plan, model.alphasCumprod, 0));
  await subject.compare(c.name, "noised", start.data, rows.tolerances.model);
  const made = await stepsOf({ plan, start, predict: await subject.guidedBy("prompt") });
  await subject.compareSteps(c.name, "steps", made, subject.tolerance(c));
  await subject.compareImage(c, `${c.name}.image`, made.at(-1)!);
}

async function checkInpaint(subject: Subject, c: Case): Promise<void> {
  const { golden, rows, model } = subject;
  const plan = enteringPlan(subject, golden.number("steps"), c);
  const clean = await pictureLatents(subject);
  const tensor = `mask.${golden.text("mask", c)}`;
  const [height, width] = golden.shape(tensor) as [number, number];
  const mask = latentMask({ data: Uint8Array.from(await golden.ints(tensor)), width, height }, model.parts.vae.config.factor);
  rows.error(c.name, "masked_latents", Math.abs(mask.reduce((n, m) => n + m, 0) - golden.number("masked_latents", c)), 0, "mismatches");
  const noise = await golden.floats("noise");
  const start =
    golden.number("strength", c) === 1
      ? { data: noise.map((x) => x * plan.initNoiseSigma), shape: clean.shape }
      : noised(clean, noise, noiseLevelAt(plan, model.alphasCumprod, 0));
  const made = await stepsOf({
    plan,
    start,
    predict: await subject.guidedBy("prompt"),
    after: keepOutside(mask, clean, noise, plan, model.alphasCumprod),
  });
  await subject.compareSteps(c.name, "steps", made, subject.tolerance(c));
  await subject.compareImage(c, `${c.name}.image`, made.at(-1)!);
}
