import { createNoisyPlan, ddimLevels, parseSchedulerConfig, schedulerJsonFor } from "../../../diffusion/schedulers/index.ts";
import { TOLERANCES } from "../../rows.ts";
import type { Form } from "../../context.ts";
import { type Case, type Subject, caseForm, recorded, slab, stepsOf, unetField } from "./subject.ts";

/** `noise_probe`: DDIM with eta above 1 and a variance scale. */
export const noiseProbe: Form = caseForm(unetField, check, coefficients);

/** Sigma and radicand of every eta and step, [etas, steps, 5]: eta, t, sigma, eta * sigma, 1 - q - (eta sigma)^2. */
async function coefficients({ golden, rows, model }: Subject): Promise<void> {
  const config = parseSchedulerConfig("ddim", schedulerJsonFor("ddim", model.parts.scheduler));
  for (const length of ["short", "long"]) {
    const tensor = `coef.${length}`;
    if (!golden.has(tensor)) continue;
    const steps = golden.number(`${length}_steps`);
    const expected = await golden.floats(tensor);
    const own = golden.numbers("etas").flatMap((eta) =>
      createNoisyPlan(schedulerJsonFor("ddim", model.parts.scheduler), steps, eta, 1).steps.map(({ timestep }) => {
        const { sigma, radicand } = ddimLevels(config, model.alphasCumprod, steps, timestep, eta);
        return [eta, timestep, sigma, eta * sigma, radicand];
      }),
    );
    const column = (from: readonly (readonly number[])[], i: number): number[] => from.map((row) => row[i]!);
    const given = own.map((_, i) => [...expected.subarray(5 * i, 5 * i + 5)]);
    const whole = expected.length === 5 * own.length;
    for (const [i, what] of ["eta", "t", "sigma", "eta*sigma"].entries()) {
      rows.error("", `${tensor} ${what}`, whole ? relative(column(own, i), column(given, i)) : Infinity, TOLERANCES.opForward);
    }
    // A difference of nearly equal float32 numbers: only its absolute error means something.
    rows.compare("", `${tensor} radicand`, column(own, 4), column(given, 4), 1e-6, "absolute");
    const counted = golden.json[`negative_radicand_${length}`];
    if (counted === undefined) continue;
    const counts = Object.values(golden.object(`negative_radicand_${length}`));
    const negative = golden.numbers("etas").map((eta) => own.filter((row) => row[0] === eta && row[4]! < 0).length);
    rows.compare("", `negative_radicand_${length}`, negative, counts as number[], 0, "mismatches");
  }
}

function relative(a: readonly number[], b: readonly number[]): number {
  return Math.hypot(...a.map((x, i) => x - b[i]!)) / Math.hypot(...b);
}

async function check(subject: Subject, c: Case): Promise<void> {
  const { golden, rows, model } = subject;
  const plan = createNoisyPlan(
    schedulerJsonFor("ddim", model.parts.scheduler),
    golden.number("steps", c),
    golden.number("eta", c),
    golden.number("variance_scale", c),
  );
  const start = await golden.array("init");
  const z = await golden.floats(golden.text("z", c));
  const drawn = (): (() => Float32Array<ArrayBuffer>) => {
    let i = 0;
    return () => slab(z, start.data.length, i++);
  };
  const run = { plan, start };
  const prompts = golden.object("prompts");
  const predict = await subject.guidedBy(golden.text("prompt", prompts));
  const steps = await stepsOf({ ...run, predict, drawNoise: drawn() });
  const last = steps.at(-1)!;
  if (golden.has(`${c.name}.steps`)) {
    const expected = await golden.floats(`${c.name}.steps`);
    subject.compareSteps(c.name, "steps", steps, expected, subject.tolerance(c));
    if (golden.has(`${c.name}.noise_pred`)) {
      const predictions = await golden.floats(`${c.name}.noise_pred`);
      const without = await stepsOf({ ...run, predict: recorded(predictions, start.data.length), drawNoise: drawn() });
      subject.compareSteps(c.name, "steps from noise_pred", without, expected, TOLERANCES.opForward);
      const own = [];
      for (const [i, step] of plan.steps.entries()) {
        const before = i === 0 ? start : { ...start, data: slab(expected, start.data.length, i - 1) };
        own.push({ ...start, data: await predict(before, step.timestep, i) });
      }
      subject.compareSteps(c.name, "noise_pred", own, predictions, rows.tolerances.model);
    }
  }
  if (golden.has(`${c.name}.latents`)) {
    rows.compare(c.name, "latents", last.data, await golden.floats(`${c.name}.latents`), subject.tolerance(c));
  }
  await subject.compareImage(c, `image.${c.name}`, last);
}
