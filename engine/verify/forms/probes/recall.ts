import { Recall, type RecallState } from "../../../diffusion/steering/recall.ts";
import { noiseLevelAt } from "../../../diffusion/schedulers/index.ts";
import { encodeSample, noised } from "../../../diffusion/steering/encode.ts";
import { stackRows } from "../../../nn/array.ts";
import type { Form } from "../../check.ts";
import type { Case } from "../../golden.ts";
import { relativeL2 } from "../../rows.ts";
import { enteringPlan } from "./img2img.ts";
import { type Subject, caseForm, slab, stepsOf, unetField } from "./subject.ts";

/** `recall`: latents moved by the sign of a momentum of the gradient of a noise-matching loss. */
export const recall: Form = caseForm(unetField, check);

async function check(subject: Subject, c: Case): Promise<void> {
  const { golden, rows, model } = subject;
  const x0 = await golden.array("x0");
  const encoded = await encodeSample(model, await subject.picture("picture"), await golden.floats("vae_noise"));
  await subject.compare(c.name, "x0", encoded, undefined, { key: "x0" });
  const size = x0.data.length;
  const timesteps = golden.numbers("timesteps", c);
  const iterations = golden.number("iterations", c);
  const [noise, x] = [await golden.floats(`${c.name}.noise`), await golden.floats(`${c.name}.x`)];
  const gradients = await golden.floats(`${c.name}.grad`);
  const start = await golden.floats(`${c.name}.start`);
  const eachFromNoise = c["set_each_step"] === true;
  const each = eachFromNoise ? await golden.floats(`${c.name}.start_each`) : undefined;
  const search = new Recall(
    model,
    x0,
    stackRows([await subject.encode("empty"), await subject.encode("prompt")]),
    {
      sign: golden.number("sign", c) > 0 ? 1 : -1,
      iterations,
      learningRate: golden.number("lr"),
      momentum: golden.number("momentum"),
      blend: golden.number("blend"),
      reinject: golden.number("reinject"),
      interval: golden.number("interval", c),
      eachFromNoise,
    },
    {
      start: (timestep, index) => (each && index >= 0 && timesteps[index] === timestep ? slab(each, size, index) : start),
      noise: (timestep, i) => slab(noise, size, timesteps.indexOf(timestep) * iterations + i),
    },
  );
  // Each iteration from the recorded latents, and the updates from the recorded gradients: exact but for rounding.
  const [ownLosses, gradientErrors, mismatchesOf]: [number[], number[], number[]] = [[], [], []];
  let state: RecallState = search.begin(timesteps[0]!, eachFromNoise ? 0 : -1);
  for (const [n, timestep] of timesteps.entries()) {
    if (eachFromNoise) state = search.begin(timestep, n);
    for (let i = 0; i < iterations; i++) {
      const k = n * iterations + i;
      const made = await search.iterate(state, timestep, slab(noise, size, k));
      ownLosses.push(made.loss);
      const gradient = slab(gradients, size, k);
      gradientErrors.push(relativeL2(made.gradient, gradient));
      const before = state;
      const next = search.update(state, gradient);
      const moved = slab(x, size, k);
      mismatchesOf.push(signMismatches(before.latents, next.latents, moved));
      state = { velocity: next.velocity, latents: moved };
    }
    state = search.reinjected(state, n);
  }
  await subject.compare(c.name, "loss", ownLosses);
  rows.error(c.name, "grad", Math.max(...gradientErrors), subject.tolerance(c), "relative L2", "the worst of all iterations");
  rows.error(c.name, "sign(v) from grad", mismatchesOf.reduce((a, b) => a + b, 0), 0, "mismatches");
  await subject.compare(c.name, "final", state.latents, 1e-6);
  await freeRun(subject, c, search, timesteps, iterations, x, size);
  await evaluate(subject, c);
}

/** How many elements an update moved the other way than recorded. */
function signMismatches(before: Float32Array, after: Float32Array, recorded: Float32Array): number {
  let n = 0;
  for (let i = 0; i < before.length; i++) if (Math.sign(after[i]! - before[i]!) !== Math.sign(recorded[i]! - before[i]!)) n++;
  return n;
}

/** The product's own loop over the first timesteps. */
async function freeRun(
  { golden, rows }: Subject,
  c: Case,
  search: Recall,
  timesteps: readonly number[],
  iterations: number,
  x: Float32Array<ArrayBuffer>,
  size: number,
): Promise<void> {
  const count = golden.number("timesteps", golden.object("free_run", c));
  let state = search.begin(timesteps[0]!, c["set_each_step"] === true ? 0 : -1);
  let last = state.latents as Float32Array;
  for (const [n, timestep] of timesteps.slice(0, count).entries()) {
    state = await search.timestep(state, timestep, n, ({ latents }) => {
      last = latents;
    });
  }
  const expected = slab(x, size, count * iterations - 1);
  rows.compare(c.name, `x after ${count} timesteps, free`, last, expected, rows.tolerances.signs);
}

/** The probe's picture: img2img from the final latents. */
async function evaluate(subject: Subject, c: Case): Promise<void> {
  const { golden, model } = subject;
  const settings = golden.object("eval", c);
  const plan = enteringPlan(subject, golden.number("steps", settings), settings);
  const final = await golden.array(`${c.name}.final`);
  const start = noised(final, await golden.floats("eval.noise"), noiseLevelAt(plan, model.alphasCumprod, 0));
  const made = await stepsOf({ plan, start, predict: await subject.guidedBy("prompt") });
  await subject.compare(c.name, "eval.latents", made.at(-1)!, subject.tolerance({ ...settings, name: c.name }));
}
