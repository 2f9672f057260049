import { isObject } from "../../../formats/file-system.ts";
import { FormatError } from "../../../formats/errors.ts";
import { type NDArray, stackRows } from "../../../nn/array.ts";
import { type SizeConditions, ownSize } from "../../../diffusion/model/sizes.ts";
import { Sampler } from "../../../diffusion/sampler.ts";
import { type SamplerPlan, createSamplerPlan, schedulerNameOf } from "../../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Form } from "../../context.ts";
import type { Golden, Json } from "../../golden.ts";
import { asPicture } from "../../pictures.ts";
import { type Rows, relativeL2 } from "../../rows.ts";

type Case = Json & { readonly name: string };

/** `samples` of SDXL: diffusers' StableDiffusionXLPipeline as each case calls it. */
export const xlSamples: Form = async (golden, rows, context) => {
  const model = await context.model();
  for (const c of golden.cases) await rows.guard(c.name, "latents", () => checkCall(golden, c, rows, model));
};

async function checkCall(golden: Golden, c: Case, rows: Rows, model: StableDiffusion): Promise<void> {
  const call = golden.object("call", c);
  const json = isObject(golden.json["scheduler_config"]) ? golden.json["scheduler_config"] : model.parts.scheduler;
  const plan = createSamplerPlan(schedulerNameOf(c["scheduler"]), json, golden.number("num_inference_steps", call));
  const { name } = c;
  const { model: tolerance, sample: sampleTolerance, levels } = rows.tolerances;
  if (typeof c["init_noise_sigma"] === "number") {
    rows.compare(name, "init_noise_sigma", [plan.initNoiseSigma], [c["init_noise_sigma"]], 1e-6);
  }
  if (golden.has(`${name}.timesteps`)) {
    rows.compare(name, "timesteps", plan.steps.map((s) => s.timestep), await golden.floats(`${name}.timesteps`), 0, "mismatches");
  }
  if (golden.has(`${name}.sigmas`)) rows.compare(name, "sigmas", plan.sigmas ?? [], await golden.floats(`${name}.sigmas`), 1e-6);
  const { steps, last } = await sample(golden, call, model, plan);
  if (golden.has(`${name}.steps`)) {
    const expected = await golden.floats(`${name}.steps`);
    const size = last.data.length;
    // Each step against its own reference; the row holds the worst.
    const errors = steps.map((step, i) => relativeL2(step.data, expected.subarray(i * size, (i + 1) * size)));
    rows.error(name, "steps", steps.length * size === expected.length ? Math.max(...errors) : Infinity, tolerance);
  }
  rows.compare(name, "latents", last.data, await golden.floats(`${name}.latents`), tolerance);
  const { image, uint8 } = asPicture(await model.decodeLatents(last));
  if (golden.has(`${name}.image`)) rows.compare(name, "image", image, await golden.floats(`${name}.image`), sampleTolerance);
  if (golden.has(`${name}.uint8`)) rows.compare(name, "uint8", uint8, await golden.ints(`${name}.uint8`), levels, "levels");
}

/** The latents after every step and at the end, by the product's own sampler. */
async function sample(golden: Golden, call: Json, model: StableDiffusion, plan: SamplerPlan): Promise<{ steps: NDArray[]; last: NDArray }> {
  const prompts = texts(call["prompt"]);
  const batch = prompts.length;
  const [height, width] = [golden.number("height", call), golden.number("width", call)];
  const [h, w] = model.latentSize(height, width);
  const own = texts(call["prompt_2"] ?? prompts);
  const context = await encodeAll(model, prompts, own);
  const negative = call["negative_prompt"] === undefined ? undefined : texts(call["negative_prompt"]);
  const negative2 = texts(call["negative_prompt_2"] ?? negative ?? []);
  const unconditional = negative
    ? await encodeAll(model, negative, negative2)
    : stackRows(await Promise.all(prompts.map(() => model.encodeNoPrompt())));
  const sampler = Sampler.for(model, {
    batch,
    height: h,
    width: w,
    length: context.shape[1]!,
    guidance: golden.number("guidance_scale", call),
  });
  const given = call["negative_original_size"] !== undefined && call["negative_target_size"] !== undefined;
  const steps: NDArray[] = [];
  const last = await sampler.run({
    context,
    unconditional,
    sizes: sizesIn(golden, call, "", height, width),
    negativeSizes: given ? sizesIn(golden, call, "negative_", height, width) : undefined,
    noise: await golden.array(batch === 1 ? "init_latent" : `init_latent_${batch}`),
    plan,
    drawNoise: () => {
      throw new Error("this scheduler draws fresh noise, which the reference does not hold");
    },
    onStep: async (_step, _steps, latents) => {
      steps.push(await latents());
    },
  });
  return { steps, last };
}

function texts(value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).map(String);
}

async function encodeAll(model: StableDiffusion, prompts: readonly string[], second: readonly string[]): Promise<NDArray> {
  const all: NDArray[] = [];
  for (const [i, prompt] of prompts.entries()) all.push(await model.encodePrompt(prompt, second[i] ?? second[0]));
  return stackRows(all);
}

/** The size arguments of a call, with the pipeline's defaults. @throws FormatError for one that is not a pair of numbers */
function sizesIn(golden: Golden, call: Json, prefix: "" | "negative_", height: number, width: number): SizeConditions {
  const pair = (field: string, fallback: readonly [number, number]): readonly [number, number] => {
    const name = `${prefix}${field}`;
    if (call[name] === undefined) return fallback;
    const [a, b, ...rest] = golden.numbers(name, call);
    if (a === undefined || b === undefined || rest.length > 0) throw new FormatError(golden.path, `"${name}" must be two numbers`);
    return [a, b];
  };
  const own = ownSize(height, width);
  return {
    original: pair("original_size", own.original),
    crop: pair("crops_coords_top_left", own.crop),
    target: pair("target_size", own.target),
  };
}
