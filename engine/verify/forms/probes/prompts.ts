import type { Predict } from "../../../diffusion/steering/denoise.ts";
import { composed, composePredictions, guided } from "../../../diffusion/steering/guided.ts";
import { SAFREE, SAFREE_ARTIST, safree, safreeLastStep } from "../../../diffusion/steering/safree.ts";
import { maskedPrompts, pooledRows } from "../../../diffusion/steering/safree-prompts.ts";
import { switched } from "../../../diffusion/steering/switched.ts";
import type { NDArray } from "../../../nn/array.ts";
import { FormatError } from "../../../formats/errors.ts";
import { type Numbers, TOLERANCES } from "../../rows.ts";
import type { Form } from "../../check.ts";
import type { Case } from "../../golden.ts";
import { Subject, caseForm, fileIn, latentsBefore, slab, stepsOf, unetField } from "./subject.ts";

/** `concept_arithmetic`: several prompts composed in the prediction. */
export const conceptArithmetic: Form = caseForm(unetField, async (subject, c) => {
  const { golden, model } = subject;
  const plan = subject.plan("ddim", golden.number("steps"));
  const weights = golden.numbers("weights", c);
  const prompts: { context: NDArray; weight: number }[] = [];
  for (const [i, name] of golden.list("prompts", c).entries()) {
    prompts.push({ context: await subject.encode(String(name)), weight: weights[i]! });
  }
  const start = await golden.array("init");
  const empty = await subject.encode("empty");
  const steps = await stepsOf({ plan, start, predict: composed(model, empty, prompts) });
  await subject.compareSteps(c.name, "steps", steps, subject.tolerance(c));
  if (!golden.has(`${c.name}.eps`)) return;
  const [eps, expected] = [await golden.floats(`${c.name}.eps`), await golden.floats(`${c.name}.steps`)];
  const count = prompts.length + 1;
  const parts = (step: number): Float32Array[] => Array.from({ length: count }, (_, k) => slab(eps, start.data.length, step * count + k));
  const predict: Predict = (_sample, _timestep, step) => Promise.resolve(composePredictions(parts(step), weights));
  const without = await stepsOf({ plan, start, predict });
  await subject.compareSteps(c.name, "steps from eps", without, TOLERANCES.opForward, `${c.name}.steps`);
  const own: NDArray[] = [];
  for (const [i, { timestep }] of plan.steps.entries()) {
    const before = latentsBefore(start, expected, i);
    for (const context of [empty, ...prompts.map((p) => p.context)]) own.push(await model.predictNoise(before, timestep, context));
  }
  await subject.compareSteps(c.name, "eps", own, subject.tolerances.model);
});

/** `diffusion_completion`: the base model's first steps, the erased model's others. */
export const diffusionCompletion: Form = caseForm((golden) => fileIn(golden, "erased"), async (subject, c) => {
  const { golden, base, model } = subject;
  const plan = subject.plan("ddim", golden.number("steps"));
  const predict = switched(
    await subject.guidedBy("prompt", base),
    await subject.guidedBy(golden.text("completion_prompt", c), model),
    golden.number("base_steps", c),
  );
  const steps = await stepsOf({ plan, start: await golden.array("init"), predict });
  await subject.compareSteps(c.name, "steps", steps, subject.tolerance(c));
  await subject.compareImage(c, `image.${c.name}`, steps.at(-1)!);
});

/** `safree`: a defence that moves token encodings out of a concept's subspace. */
export const safreeForm: Form = async (check) => {
  const subject = await Subject.of(check, unetField(check.golden));
  await check.rows.guard("", "filter_table", () => checkFilter(subject));
  await subject.cases("", (c) => (typeof c["last_projected_step"] === "number" ? checkSteps : checkProjection)(subject, c));
};

const FILTERS = { default: SAFREE, artist: SAFREE_ARTIST } as const;

/** The published settings, as the file states them. */
function filterOf({ golden }: Subject, which: keyof typeof FILTERS): typeof SAFREE {
  const given = golden.object("defaults");
  const suffix = which === "artist" ? "_artist" : "";
  const n = (name: string): number => golden.number(name, given);
  return { alpha: n("alpha"), upTo: n("up_t"), k: n(`k${suffix}`), midpoint: n(`t0${suffix}`) };
}

function checkFilter(subject: Subject): void {
  const { golden, rows } = subject;
  for (const [i, row] of golden.list("filter_table").entries()) {
    const entry = row as Readonly<Record<string, number>>;
    for (const which of ["default", "artist"] as const) {
      if (typeof entry["beta"] !== "number") throw new FormatError(golden.path, `entry ${i} of "filter_table" has no beta`);
      const own = safreeLastStep(entry["beta"], filterOf(subject, which));
      rows.error("", `filter_table beta ${entry["beta"]} ${which}`, Math.abs(own - entry[which]!), 0, "mismatches");
    }
  }
}

async function checkProjection(subject: Subject, c: Case): Promise<void> {
  const { golden, rows, model } = subject;
  const prompt = golden.text("prompt");
  const ids = await subject.ids(prompt);
  const encoding = await model.encodeText(ids);
  const tokens = golden.number("prompt_tokens");
  const all = await golden.ints("ids.concepts");
  const count = golden.shape("ids.concepts")[0]!;
  const phrases = Array.from({ length: count }, (_, i) => all.slice((i * all.length) / count, ((i + 1) * all.length) / count));
  const eos = ids[tokens + 1]!;
  const concepts = await pooledRows(model, phrases, eos);
  const masked = await pooledRows(model, maskedPrompts(ids, tokens), eos);
  const join = (list: readonly Float32Array[]): number[] => list.flatMap((x) => [...x]);
  const { model: tolerance } = rows.tolerances;
  const compare = (tensor: string, actual: Numbers | NDArray, granted: number): Promise<void> =>
    subject.compare(c.name, tensor, actual, granted, { key: tensor });
  await compare("e", encoding, tolerance);
  await compare("concept", join(concepts), tolerance);
  await compare("masked", join(masked), tolerance);
  // The projectors of the recorded encodings: nearly parallel rows amplify what the encoder rounds.
  const cut = async (tensor: string): Promise<Float32Array[]> => {
    const { data, shape } = await golden.array(tensor);
    return Array.from({ length: shape[0]! }, (_, i) => slab(data, shape[1]!, i));
  };
  const recordedE = { data: await golden.floats("e"), shape: encoding.shape };
  const settings = { ...filterOf(subject, "default"), alpha: golden.number("alpha", c) };
  const made = safree(recordedE, tokens, await cut("concept"), await cut("masked"), settings);
  const granted = golden.object("tolerance", c);
  const tolerances = (name: string): number => (typeof granted[name] === "number" ? granted[name] : tolerance);
  await compare("Pc", made.concept, tolerances("Pc"));
  await compare("Pm", made.masked, tolerances("Pm"));
  await compare("d", made.distances, tolerance);
  await compare("ratio", made.ratios, tolerance);
  await compare("flag", made.flagged.map(Number), 0);
  await compare("projected", made.projected, tolerances("projected"));
  await compare("out", made.encoding, tolerances("out"));
  rows.compare(c.name, "beta", [made.beta], [golden.number("beta", c)], tolerance);
  // The whole way, from ids.
  const whole = safree(encoding, tokens, concepts, masked, settings);
  await subject.compare(c.name, "out from ids", whole.encoding, rows.tolerances.sample, { key: "out" });
  const filtered = golden.object("filter_steps", c);
  for (const which of ["default", "artist"] as const) {
    const own = safreeLastStep(made.beta, filterOf(subject, which));
    rows.error(c.name, `filter_steps ${which}`, Math.abs(own - golden.number(which, filtered)), 0, "mismatches");
  }
}

async function checkSteps(subject: Subject, c: Case): Promise<void> {
  const { golden, model } = subject;
  const plan = subject.plan("ddim", golden.number("steps"));
  const empty = await subject.encode("empty");
  const moved = { data: await golden.floats("out"), shape: empty.shape };
  const predict = switched(
    guided(model, empty, moved, subject.guidance),
    await subject.guidedBy(golden.text("prompt")),
    golden.number("last_projected_step", c) + 1,
  );
  const steps = await stepsOf({ plan, start: await golden.array("init"), predict });
  await subject.compareSteps(c.name, "steps", steps, subject.tolerance(c));
}
