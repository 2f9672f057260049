import { adam, adamHyperparameters } from "../../../../kernels/adam.ts";
import { simplexProjection } from "../../../../kernels/simplex-projection.ts";
import { Objective } from "../../../attack/search/objective.ts";
import { OriginalPrediction } from "../../../attack/search/original-prediction.ts";
import { likeliestTokens } from "../../../attack/search/simplex.ts";
import type { NDArray } from "../../../nn/array.ts";
import { createSamplerPlan, noiseScheduleOnly } from "../../../diffusion/schedulers/index.ts";
import type { Form, VerifyContext } from "../../context.ts";
import { part } from "../../layout.ts";
import { asPicture, sampleLatents } from "../../pictures.ts";
import { type Rows, TOLERANCES, type Tolerances, largestDifference, mismatches, relativeL2 } from "../../rows.ts";
import { type Trace, decimalIds, decimalText, framedWith, openTrace } from "./trace.ts";
import { nearestTokens } from "./nearest-tokens.ts";

/** Absolute: the reference's bisection stops at 1e-5 in the shift. */
const PROJECTION_TOLERANCE = 2e-5;
/** A best and second best closer than this are a tie that rounding decides. */
const CLEAR_MARGIN = 1e-6;

/** `attack/*`: each iteration of a recorded search alone, fed the recorded draws; then the prompts evaluated and their pictures. */
export const attack: Form = async (golden, rows, context) => {
  const trace = await openTrace(golden, context);
  const kind = golden.text("attacker");
  if (kind === "text_grad") {
    await rows.guard(trace.name, "loss", () => textGrad(trace, rows));
    await rows.guard(trace.name, "adam", () => rowSteps(trace, rows, context));
  } else if (kind === "hard_prompt") {
    await rows.guard(trace.name, "loss", () => hardPrompt(trace, rows, context));
    await rows.guard(trace.name, "adam", () => rowSteps(trace, rows, context));
  } else if (kind !== "random") {
    golden.account(...golden.names());
    return rows.failed(trace.name, kind, `no check for attacker "${kind}"`);
  }
  await rows.guard(trace.name, "x0", async () => {
    if (!golden.has("image")) return;
    const image = await golden.array("image");
    const shape = image.shape.length === 3 ? [1, ...image.shape] : image.shape;
    rows.compare(trace.name, "x0", (await trace.model.encodeImage({ data: image.data, shape })).data, await golden.floats("x0"), rows.tolerances.model);
  });
  if (golden.has("eval.ids")) await rows.guard(trace.name, "eval.ids", () => evaluatedPrompts(trace, rows));
  if (golden.has("eval.uint8")) await rows.guard(trace.name, "eval.uint8", () => evaluatedPictures(trace, rows));
};

/** Worst errors over the iterations, by tensor: one row each. */
class Worst {
  private readonly errors = new Map<string, number>();

  add(tensor: string, error: number): void {
    this.errors.set(tensor, Math.max(error, this.errors.get(tensor) ?? 0));
  }

  report(rows: Rows, name: string, tolerance: (tensor: string) => number): void {
    for (const [tensor, error] of this.errors) rows.error(name, tensor, error, tolerance(tensor));
  }
}

function gradientTolerance(tensor: string, loss: string, tolerances: Tolerances): number {
  if (tensor === "loss") return tolerances.model;
  return loss === "l1" || tensor.endsWith("from own gradient") ? tolerances.signs : tolerances.embeddingGradient;
}

/** Loss, gradients, and the rows after Adam and after the projection, each iteration from the recorded state before it. */
async function textGrad(trace: Trace, rows: Rows): Promise<void> {
  const { golden, layout, loss, comparesModels } = trace;
  const [x0, noises] = [await golden.array("x0"), await golden.array("noise")];
  const [timesteps, choice] = [await golden.ints("t"), await golden.ints("choice")];
  const expected = { loss: await golden.floats("loss"), gradient: await golden.array("grad"), embeddingGradient: await golden.array("d_input_embeddings"), moved: await golden.array("adam"), projected: await golden.array("proj") };
  const init = await golden.array("init");
  const k = layout.slots.length;
  const size = k * expected.gradient.shape.at(-1)!;
  const moments = adamMoments(trace, expected.gradient.data, (i) => (i === 0 ? init.data : part(expected.projected, i - 1).data), size);
  const worst = new Worst();
  const [, , height, width] = x0.shape as [number, number, number, number];
  const objective = await Objective.for(trace.target, { tokens: k, length: trace.frame.length, height, width, loss, projection: "reference", target: comparesModels ? "given" : "noise", replay: true });
  const setTarget = await originalPrediction(trace, objective, x0);
  for (const [i, timestep] of timesteps.entries()) {
    const drawn = Uint32Array.from(choice.subarray(i * k, (i + 1) * k));
    const before = i === 0 ? init.data : part(expected.projected, i - 1).data;
    const results = await replay(objective, trace, { x0, noise: part(noises, i), timestep, drawn, before, moments: moments[i]!, step: i + 1 }, setTarget);
    worst.add("loss", relativeL2(results["loss"]!, [expected.loss[i]!]));
    worst.add("d_input_embeddings", relativeL2(results["embeddingGradient"]!, part(expected.embeddingGradient, i).data));
    worst.add("grad", relativeL2(results["gradient"]!, part(expected.gradient, i).data));
    worst.add("adam from own gradient", relativeL2(results["moved"]!, part(expected.moved, i).data));
    worst.add("proj from own gradient", relativeL2(results["projected"]!, part(expected.projected, i).data));
  }
  worst.report(rows, trace.name, (tensor) => gradientTolerance(tensor, loss, rows.tolerances));
  await argmaxRows(trace, rows, expected.projected.data);
}

interface Iteration {
  readonly x0: NDArray;
  readonly noise: NDArray;
  readonly timestep: number;
  /** Absent where the rows alone decide the tokens. */
  readonly drawn?: Uint32Array<ArrayBuffer>;
}

/** The prompt with room made for its slots; the program puts the drawn tokens there. */
function startIds(trace: Trace): Uint32Array<ArrayBuffer> {
  return framedWith(trace, new Uint32Array(trace.layout.slots.length));
}

type SetTarget = ((timestep: number, noise: Float32Array) => Promise<void>) | undefined;

/** In a trace of P4D, what puts the unchanged model's prediction into the objective's target. */
async function originalPrediction(trace: Trace, objective: Objective, latents: NDArray): Promise<SetTarget> {
  if (!trace.comparesModels) return undefined;
  const prediction = await OriginalPrediction.of(trace.model, { cases: [{ ids: trace.framedPrompt, latents }], destination: objective.target });
  return (timestep, noise) => prediction.step([timestep], noise);
}

type Moments = { readonly m: Float32Array<ArrayBuffer>; readonly v: Float32Array<ArrayBuffer> };

/** One iteration by the attack's own program. */
async function replay(objective: Objective, trace: Trace, it: Iteration & { before: Float32Array<ArrayBuffer>; moments: Moments; step: number }, setTarget: SetTarget): Promise<Record<string, Float32Array>> {
  objective.start({ ids: startIds(trace), slots: trace.layout.slots, latents: it.x0, simplex: it.before, firstMoment: it.moments.m, secondMoment: it.moments.v });
  await setTarget?.(it.timestep, it.noise.data);
  await objective.step({ timestep: it.timestep, noise: it.noise.data, ...(it.drawn && { draws: it.drawn }), hyperparameters: adamHyperparameters(adamOptions(trace), it.step) });
  return (await objective.program.read()) as Record<string, Float32Array>;
}

function adamOptions({ golden }: Trace): { lr: number; weightDecay: number } {
  return { lr: golden.number("lr"), weightDecay: golden.number("weight_decay") };
}

/** Adam's moments before each iteration, from the recorded gradients (arXiv 1412.6980; weight decay in its L2 form). */
function adamMoments(trace: Trace, grads: Float32Array, parameterBefore: (i: number) => Float32Array, size: number): Moments[] {
  const { weightDecay } = adamOptions(trace);
  const [m, v] = [new Float64Array(size), new Float64Array(size)];
  return Array.from({ length: grads.length / size }, (_, i) => {
    const before = { m: Float32Array.from(m), v: Float32Array.from(v) };
    const parameter = parameterBefore(i);
    for (let j = 0; j < size; j++) {
      const g = grads[i * size + j]! + weightDecay * parameter[j]!;
      m[j] = 0.9 * m[j]! + 0.1 * g;
      v[j] = 0.999 * v[j]! + 0.001 * g * g;
    }
    return before;
  });
}

/** Adam fed the recorded gradients, and the projection fed the recorded rows: each step alone, without any net. */
async function rowSteps(trace: Trace, rows: Rows, context: VerifyContext): Promise<void> {
  const { golden } = trace;
  const [init, grads, moved] = [await golden.array("init"), await golden.array("grad"), await golden.array("adam")];
  const projected = golden.has("proj") ? await golden.array("proj") : undefined;
  const shape = grads.shape.slice(1);
  const size = shape.reduce((a, b) => a * b, 1);
  const before = (i: number): Float32Array<ArrayBuffer> => (i === 0 ? init.data : part(projected ?? moved, i - 1).data);
  const moments = adamMoments(trace, grads.data, before, size);
  const worst = new Worst();
  let worstProjection = 0;
  for (let i = 0; i < grads.shape[0]!; i++) {
    const of = (data: Float32Array<ArrayBuffer>): { data: Float32Array<ArrayBuffer>; shape: readonly number[] } => ({ data, shape });
    const hyper = adamHyperparameters(adamOptions(trace), i + 1);
    const inputs = { parameter: of(before(i)), m: of(moments[i]!.m), v: of(moments[i]!.v), gradient: of(part(grads, i).data), hyper: { data: hyper, shape: [hyper.length] }, rows: of(part(moved, i).data) };
    const result = await context.run(`row steps ${projected !== undefined}`, inputs, (g, v) => ({
      moved: adam(g, { parameter: v["parameter"]!, m: v["m"]!, v: v["v"]! }, v["gradient"]!, v["hyper"]!).parameter,
      ...(projected && { projected: simplexProjection(g, v["rows"]!, "reference") }),
    }));
    worst.add("adam", relativeL2(result["moved"]!, part(moved, i).data));
    if (projected) worstProjection = Math.max(worstProjection, largestDifference(result["projected"]!, part(projected, i).data));
  }
  worst.report(rows, trace.name, () => TOLERANCES.opForward);
  if (projected) rows.error(trace.name, "proj", worstProjection, PROJECTION_TOLERANCE, "absolute");
}

/** The likeliest token of every row wherever it is ahead of the second by more than rounding, and by how much it is. */
async function argmaxRows(trace: Trace, rows: Rows, projected: Float32Array): Promise<void> {
  const { golden } = trace;
  const [expected, margins] = [await golden.ints("argmax"), await golden.floats("argmax_margin")];
  const vocabulary = projected.length / expected.length;
  const chosen = likeliestTokens(projected as Float32Array<ArrayBuffer>, vocabulary);
  const clear = [...margins.keys()].filter((i) => margins[i]! > CLEAR_MARGIN);
  rows.error(trace.name, "argmax", mismatches(clear.map((i) => chosen[i]!), clear.map((i) => expected[i]!)), 0, "mismatches", `${clear.length} of ${margins.length} clear of a tie`);
  const own = chosen.map((best, j) => {
    const row = projected.subarray(j * vocabulary, (j + 1) * vocabulary);
    return row[best]! - row.reduce((second, x, i) => (i !== best && x > second ? x : second), -Infinity);
  });
  rows.compare(trace.name, "argmax_margin", own, margins, CLEAR_MARGIN, "absolute");
}

/** The hard-prompt attack, each iteration from the recorded rows: the nearest tokens, loss and gradient there, and the continuous rows after Adam. */
async function hardPrompt(trace: Trace, rows: Rows, context: VerifyContext): Promise<void> {
  const { golden, layout, loss, comparesModels } = trace;
  const [x0, noises] = [await golden.array("x0"), await golden.array("noise")];
  const [timesteps, init, moved] = [await golden.ints("t"), await golden.array("init"), await golden.array("adam")];
  const [losses, grads, all] = [await golden.floats("loss"), await golden.array("grad"), await golden.array("d_input_embeddings")];
  const k = layout.slots.length;
  const before = (i: number): Float32Array<ArrayBuffer> => (i === 0 ? init.data : part(moved, i - 1).data);
  const moments = adamMoments(trace, grads.data, before, k * grads.shape.at(-1)!);
  const worst = new Worst();
  const chosen: number[] = [];
  const [, , height, width] = x0.shape as [number, number, number, number];
  const objective = await Objective.for(trace.target, { tokens: k, length: trace.frame.length, height, width, loss, projection: "exact", rows: "nearest", target: comparesModels ? "given" : "noise", replay: true });
  const setTarget = await originalPrediction(trace, objective, x0);
  for (const [i, timestep] of timesteps.entries()) {
    const results = await replay(objective, trace, { x0, noise: part(noises, i), timestep, before: before(i), moments: moments[i]!, step: i + 1 }, setTarget);
    chosen.push(...results["choice"]!);
    worst.add("loss", relativeL2(results["loss"]!, [losses[i]!]));
    worst.add("d_input_embeddings", relativeL2(results["embeddingGradient"]!, part(all, i).data));
    worst.add("grad", relativeL2(results["gradient"]!, part(grads, i).data));
    worst.add("adam from own gradient", relativeL2(results["moved"]!, part(moved, i).data));
  }
  worst.report(rows, trace.name, (tensor) => gradientTolerance(tensor, loss, rows.tolerances));
  await nearestTokens(trace, rows, context.files, chosen);
}

/** The ids of every evaluated prompt: the original, then the tokens that stood highest after each timestep (or, at random, each draw). */
async function evaluatedPrompts(trace: Trace, rows: Rows): Promise<void> {
  const { golden, layout, iterations } = trace;
  const ids = await golden.ints("eval.ids");
  const count = golden.shape("eval.ids")[0]!;
  const k = layout.slots.length;
  const source = ["random_tokens", "final_ids", "argmax"].find((n) => golden.has(n));
  if (source === undefined) throw new Error("there is no tensor that says which tokens were evaluated");
  const tokens = await golden.ints(source);
  const every = source === "argmax" ? iterations : 1;
  const made = [trace.framedPrompt];
  for (let j = every - 1; made.length < count && (j + 1) * k <= tokens.length; j += every) made.push(framedWith(trace, tokens.subarray(j * k, (j + 1) * k)));
  rows.compare(trace.name, "eval.ids", made.flatMap((m) => [...m]), ids, 0, "mismatches");
  const texts = made.map((framed) => decimalText([...framed.subarray(1)].filter((id) => id !== trace.frame.eosId)));
  const written = golden.list("eval_prompts");
  rows.error(trace.name, "eval_prompts", written.length === texts.length ? texts.filter((t, i) => t !== written[i]).length : Math.abs(written.length - texts.length), 0, "mismatches");
  const again = texts.flatMap((text) => [...decimalIds(golden.path, text, trace.frame)]);
  rows.compare(trace.name, "eval.retokenized_ids", again, await golden.ints("eval.retokenized_ids"), 0, "mismatches");
}

/** The pictures that were judged, from the recorded ids and noise. */
async function evaluatedPictures(trace: Trace, rows: Rows): Promise<void> {
  const { golden, target, frame } = trace;
  const words = golden.describe("eval.uint8");
  const [, steps, guidance] = /(\d+) LMS steps, guidance ([\d.]+)/.exec(words) ?? [];
  if (steps === undefined || guidance === undefined) throw new Error(`the JSON does not say how the pictures were sampled: ${words || "nothing"}`);
  const plan = createSamplerPlan("lms", noiseScheduleOnly(target.parts.scheduler), Number(steps));
  const [ids, noises, pictures] = [await golden.ints("eval.retokenized_ids"), await golden.array("eval.init_latent"), await golden.ints("eval.uint8")];
  const empty = decimalIds(golden.path, "", frame);
  const drawn: number[] = [];
  for (let i = 0; i < noises.shape[0]!; i++) {
    const request = { ids: ids.slice(i * frame.length, (i + 1) * frame.length), negative: empty, noise: part(noises, i), plan, guidance: Number(guidance) };
    const [latents] = await sampleLatents(target, request);
    for (const level of asPicture(await target.decodeLatents(latents!)).uint8) drawn.push(level);
  }
  rows.compare(trace.name, "eval.uint8", drawn, pictures, rows.tolerances.levels, "levels");
}
