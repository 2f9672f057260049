import { createNoisyPlan, ddimLevels, parseSchedulerConfig, schedulerJsonFor } from "../../../diffusion/schedulers/index.ts";
import { TOLERANCES, relativeL2 } from "../../rows.ts";
import type { Form } from "../../check.ts";
import type { Case } from "../../golden.ts";
import { type Subject, caseForm, latentsBefore, recorded, slab, stepsOf, unetField } from "./subject.ts";

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
      rows.error("", `${tensor} ${what}`, whole ? relativeL2(column(own, i), column(given, i)) : Infinity, TOLERANCES.opForward);
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

async function check(subject: Subject, c: Case): Promise<void> {
  const { golden, model } = subject;
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
    await subject.compareSteps(c.name, "steps", steps, subject.tolerance(c));
    if (golden.has(`${c.name}.noise_pred`)) {
      const given = recorded(await golden.floats(`${c.name}.noise_pred`), start.data.length);
      const without = await stepsOf({ ...run, predict: given, drawNoise: drawn() });
      await subject.compareSteps(c.name, "steps from noise_pred", without, TOLERANCES.opForward, `${c.name}.steps`);
      const expected = await golden.floats(`${c.name}.steps`);
      const own = [];
      for (const [i, step] of plan.steps.entries()) {
        own.push({ ...start, data: await predict(latentsBefore(start, expected, i), step.timestep, i) });
      }
      await subject.compareSteps(c.name, "noise_pred", own, subject.tolerances.model);
    }
  }
  await subject.compare(c.name, "latents", last, subject.tolerance(c), { optional: true });
  await subject.compareImage(c, `image.${c.name}`, last);
}
