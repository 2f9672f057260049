import type { Predict } from "../../../diffusion/steering/denoise.ts";
import { encodeSample } from "../../../diffusion/steering/encode.ts";
import { type RenoiseOptions, invert, memoraPlan, slerp } from "../../../diffusion/steering/inversion.ts";
import { INVERSIONS, type Inversion } from "../../../diffusion/steering/inversions.ts";
import { negativeLogLikelihood, normalDistance, psnr } from "../../../diffusion/steering/likelihood.ts";
import { FormatError } from "../../../formats/errors.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { Form } from "../../check.ts";
import type { Case, Golden } from "../../golden.ts";
import { type Subject, caseForm, stepsOf, unetField } from "./subject.ts";

/** `ddim_inversion`: a picture to its start latent and back. */
export const ddimInversion: Form = caseForm(unetField, check, checkDistance);

async function checkDistance({ golden, rows }: Subject): Promise<void> {
  if (golden.json["emd_example"] === undefined) return;
  const example = golden.object("emd_example");
  const value = normalDistance(golden.numbers("nll_a", example), golden.numbers("nll_b", example));
  rows.compare("", "emd_example", [value], [golden.number("value", example)], 1e-9);
}

/** By the references' names. */
const FORMS: Readonly<Record<string, Inversion>> = Object.fromEntries(INVERSIONS.map((form) => [form.replaceAll("-", "_"), form]));

function renoiseOf(golden: Golden): RenoiseOptions {
  const given = golden.object("renoise_parameters");
  const n = (name: string): number => golden.number(name, given);
  const range = (name: string): [number, number] => golden.numbers(name, given) as [number, number];
  return {
    steps: n("num_renoise_steps"),
    firstSteps: n("max_num_renoise_steps_first_step"),
    firstTimestep: n("first_step_max_timestep"),
    average:
      given["average_latent_estimations"] === true
        ? { first: range("average_first_step_range"), later: range("average_step_range") }
        : null,
    regularization:
      n("num_reg_steps") === 0
        ? null
        : {
            klWeight: n("lambda_kl"),
            correlationWeight: n("lambda_ac"),
            rounds: n("num_reg_steps"),
            rolls: n("num_ac_rolls"),
            patch: n("patch"),
          },
  };
}

/** Recorded rolls, one after the other. */
async function rollsOf(golden: Golden, c: Case): Promise<(limit: number) => number> {
  const form = golden.text("form", c);
  if (!golden.has(`${form}.rolls`)) {
    return () => {
      throw new FormatError(golden.path, `has no tensor "${form}.rolls"`);
    };
  }
  const rolls = await golden.ints(`${form}.rolls`);
  let i = 0;
  return () => rolls[i++]!;
}

async function check(subject: Subject, c: Case): Promise<void> {
  const { golden, model } = subject;
  const form = golden.choice("form", FORMS, c);
  const plan = subject.plan("ddim", golden.number("steps"));
  const predict = await subject.guidedBy(golden.text("prompt", c), model, golden.number("guidance", c));
  const inverse = async (latents: NDArray): Promise<NDArray[]> =>
    invert({
      form,
      latents,
      predict,
      timesteps: plan.steps.map((s) => s.timestep),
      alphas: model.alphasCumprod,
      renoise: renoiseOf(golden),
      roll: await rollsOf(golden, c),
    });
  const draw = form === "nti" ? undefined : await golden.floats("vae_noise");
  const z0 = await encodeSample(model, await subject.picture("picture"), draw);
  if (form === "memora") {
    const other = await encodeSample(model, await subject.picture("picture2"), draw);
    return checkMemora(subject, c, predict, await inverse(z0), await inverse(other));
  }
  await subject.compare(c.name, "z_0", z0, undefined, { optional: true });
  const inverted = await inverse(z0);
  const zT = inverted.at(-1)!;
  await subject.compareSteps(c.name, "inversion", inverted, subject.tolerance(c));
  const back = await stepsOf({ plan, start: zT, predict });
  await subject.compareSteps(c.name, "reconstruction", back, subject.tolerance(c));
  const image = await subject.decode(back.at(-1)!);
  await subject.compare(c.name, "image", image.data, subject.tolerance(c));
  await checkFigures(subject, c, z0, zT, back.at(-1)!, image);
}

/** The figures that the case states, of this run's own latents and picture. */
async function checkFigures(subject: Subject, c: Case, z0: NDArray, zT: NDArray, back: NDArray, image: NDArray): Promise<void> {
  const { rows } = subject;
  const input = (await subject.picture("picture")).data.map((x) => x / 2 + 0.5);
  const bits = (x: number): number => Math.round(x * 255) / 255;
  const nll = negativeLogLikelihood(zT.data);
  const mean = zT.data.reduce((a, b) => a + b, 0) / zT.data.length;
  const figures: Readonly<Record<string, () => number>> = {
    nll: () => nll,
    nll_per_element: () => nll / zT.data.length,
    z_T_mean: () => mean,
    z_T_std: () => Math.sqrt(zT.data.reduce((s, x) => s + (x - mean) ** 2, 0) / zT.data.length),
    psnr_float: () => psnr(image.data, input),
    psnr_uint8: () => psnr(image.data.map(bits), input.map(bits)),
    latent_reconstruction_rel: () => Math.hypot(...back.data.map((x, i) => x - z0.data[i]!)) / Math.hypot(...z0.data),
  };
  for (const [name, own] of Object.entries(figures)) {
    const stated = c[name];
    if (typeof stated !== "number") continue;
    // Stated with three to nine digits: half a unit of the last is granted besides the case's tolerance.
    rows.error(c.name, name, Math.abs(own() - stated), Math.abs(stated) * subject.tolerance(c) + lastDigit(stated) / 2, "absolute");
  }
}

/** One unit of a number's last printed digit. */
function lastDigit(value: number): number {
  return 10 ** -(String(value).split(".")[1]?.length ?? 0);
}

async function checkMemora(
  subject: Subject,
  c: Case,
  predict: Predict,
  first: readonly NDArray[],
  other: readonly NDArray[],
): Promise<void> {
  const { golden } = subject;
  const tolerance = subject.tolerance(c);
  await subject.compareSteps(c.name, "inversion", first, tolerance);
  await subject.compareSteps(c.name, "inversion2", other, tolerance);
  const from = golden.number("start", c);
  const start = slerp(first.at(-(from + 1))!, other.at(-(from + 1))!, golden.number("slerp_weight", c));
  await subject.compare(c.name, "slerp", start.data, tolerance);
  const plan = memoraPlan(subject.plan("ddim", golden.number("steps"), from), subject.model.alphasCumprod);
  await subject.compareSteps(c.name, "sample", await stepsOf({ plan, start, predict }), tolerance);
}
