import { isObject } from "../../../formats/file-system.ts";
import { FormatError } from "../../../formats/errors.ts";
import { type NDArray, stackRows } from "../../../nn/array.ts";
import { type SizeConditions, ownSize } from "../../../diffusion/model/sizes.ts";
import { createSamplerPlan, schedulerNameOf } from "../../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Check, Form } from "../../check.ts";
import type { Case, Golden, Json } from "../../golden.ts";
import { comparePictures, sampleSteps } from "../../pictures.ts";

/** `samples` of SDXL: diffusers' StableDiffusionXLPipeline as each case calls it. */
export const xlSamples: Form = async (check) => {
  const model = await check.context.model();
  await check.cases("latents", (c) => checkCall(check, c, model));
};

async function checkCall(check: Check, c: Case, model: StableDiffusion): Promise<void> {
  const { golden, rows, tolerances } = check;
  const call = golden.object("call", c);
  const json = isObject(golden.json["scheduler_config"]) ? golden.json["scheduler_config"] : model.parts.scheduler;
  const plan = createSamplerPlan(schedulerNameOf(c["scheduler"]), json, golden.number("num_inference_steps", call));
  const { name } = c;
  if (typeof c["init_noise_sigma"] === "number") {
    rows.compare(name, "init_noise_sigma", [plan.initNoiseSigma], [c["init_noise_sigma"]], 1e-6);
  }
  await check.compare(name, "timesteps", plan.steps.map((s) => s.timestep), 0, { measure: "mismatches", optional: true });
  await check.compare(name, "sigmas", plan.sigmas ?? [], 1e-6, { optional: true });
  const steps = await sampleSteps(model, { ...(await sampleInputs(golden, call, model)), plan });
  const last = steps.at(-1)!;
  if (golden.has(`${name}.steps`)) await check.compareSteps(name, "steps", steps, tolerances.model);
  await check.compare(name, "latents", last);
  await comparePictures(check, name, await model.decodeLatents(last), tolerances.sample, tolerances.levels);
}

/** What a call asks of the product's own sampler. */
async function sampleInputs(golden: Golden, call: Json, model: StableDiffusion) {
  const prompts = texts(call["prompt"]);
  const batch = prompts.length;
  const [height, width] = [golden.number("height", call), golden.number("width", call)];
  const negative = call["negative_prompt"] === undefined ? undefined : texts(call["negative_prompt"]);
  const negative2 = texts(call["negative_prompt_2"] ?? negative ?? []);
  const given = call["negative_original_size"] !== undefined && call["negative_target_size"] !== undefined;
  return {
    context: await encodeAll(model, prompts, texts(call["prompt_2"] ?? prompts)),
    unconditional: negative
      ? await encodeAll(model, negative, negative2)
      : stackRows(await Promise.all(prompts.map(() => model.encodeNoPrompt()))),
    sizes: sizesIn(golden, call, "", height, width),
    negativeSizes: given ? sizesIn(golden, call, "negative_", height, width) : undefined,
    noise: await golden.array(batch === 1 ? "init_latent" : `init_latent_${batch}`),
    guidance: golden.number("guidance_scale", call),
  };
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
