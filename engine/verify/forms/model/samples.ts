import { safeGuidance } from "../../../../kernels/guidance.ts";
import type { SldParameters } from "../../../diffusion/guidance.ts";
import {
  createSamplerPlan,
  modelInput,
  noiseScheduleOnly,
  pipelineSchedulerConfig,
  runSamplerStep,
  schedulerNameOf,
  startSampler,
  type SamplerPlan,
} from "../../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../../diffusion/stable-diffusion.ts";
import type { Check, Form } from "../../check.ts";
import { compute } from "../../compute.ts";
import type { Case, Golden } from "../../golden.ts";
import { type NDArray, stackRows } from "../../../nn/array.ts";
import { comparePictures, sampleSteps } from "../../pictures.ts";
import { TOLERANCES } from "../../rows.ts";

/** `samples`: the field's pipeline with each scheduler, the attack's own sampler, Safe Latent Diffusion. */
export const samples: Form = async (check) => {
  const model = await check.context.model();
  await check.cases("latents", async (c) => {
    if (c.name.startsWith("pipe.")) await checkPipeline(check, c, model);
    else if (c.name.startsWith("attack.") || c.name.startsWith("sld.")) await checkAttackSampler(check, c, model);
    else check.rows.failed(c.name, "latents", "cases are named pipe.*, attack.* or sld.*");
  });
};

/** diffusers' StableDiffusionPipeline: the model's own scheduler settings as the pipeline changes them. */
async function checkPipeline(check: Check, c: Case, model: StableDiffusion): Promise<void> {
  const { golden, tolerances: { sample, levels } } = check;
  const steps = typeof c["steps"] === "number" ? c["steps"] : golden.number("steps");
  const all = await sampleSteps(model, {
    context: await model.encodeText(await golden.ints("ids.prompt")),
    unconditional: await model.encodeText(await golden.ints(`ids.${String(c["negative_prompt"])}`)),
    noise: await golden.array("init_latent"),
    plan: createSamplerPlan(schedulerNameOf(c["scheduler"]), pipelineSchedulerConfig(model.parts.scheduler), steps),
    guidance: golden.number("guidance_scale"),
  });
  const last = all.at(-1)!;
  // The pipeline hands out no latents for its warm-up steps: PNDM's first of one more than asked for.
  if (golden.has(`${c.name}.steps`)) await check.compareSteps(c.name, "steps", all.slice(Math.max(0, all.length - steps)), sample);
  await check.compare(c.name, "latents", last, sample);
  await comparePictures(check, c.name, await model.decodeLatents(last), sample, levels);
}

/**
 * SLD's latents: its threshold switches elements on rounding, so the case states its `sensitivity`, the change when every weight changes by
 * 1e-6, and an engine of float32 accuracy lands within ten times that. The references grant no more than 2e-2.
 */
function sldTolerance({ golden, tolerances: { sample, safeSample, sensitivityFactor } }: Check, c: Case): number {
  return Math.max(sample, Math.min(safeSample, sensitivityFactor * golden.number("sensitivity", c)));
}

/** ClassifierTask.sampling of the attack's reference code: LMS with linspace spacing, whatever the model's file says. */
async function checkAttackSampler(check: Check, c: Case, model: StableDiffusion): Promise<void> {
  const { golden, rows, tolerances } = check;
  const plan = createSamplerPlan("lms", noiseScheduleOnly(model.parts.scheduler), golden.number("steps", c));
  const sld = typeof c["sld"] === "string" ? sldParameters(golden, c["sld"]) : undefined;
  const noise = await golden.array("attack.init_latent");
  const encode = async (which: unknown): Promise<NDArray> => model.encodeText(await golden.ints(`ids.${String(which)}`));
  const [context, unconditional] = [await encode("prompt"), await encode(c["negative_prompt"])];
  const safety = sld && (await encode("safety"));
  const guidance = golden.number("guidance_scale");
  if (sld && safety && golden.has(`${c.name}.eps`)) {
    const contexts = stackRows([unconditional, context, safety]);
    await rows.guard(c.name, "noise_pred", () => checkSafeGuidance(check, c, sld, guidance, plan));
    await rows.guard(c.name, "eps", () => checkPredictions(check, c, model, contexts, noise, plan));
  }
  const steps = await sampleSteps(model, { context, unconditional, noise, plan, guidance, ...(sld && safety && { sld, safety }) });
  const last = steps.at(-1)!;
  const tolerance = sld ? sldTolerance(check, c) : tolerances.sample;
  await check.compare(c.name, "z", last.data.map((x) => x / model.parts.vae.config.scalingFactor), tolerance);
  // Pictures of a chain that amplifies rounding are judged like its latents.
  const levels = tolerance > tolerances.sample ? undefined : tolerances.levels;
  await comparePictures(check, c.name, await model.decodeLatents(last), tolerance, levels);
}

function sldParameters(golden: Golden, strength: string): SldParameters {
  const given = golden.object(strength, golden.object("sld"));
  const n = (name: string): number => golden.number(name, given);
  return {
    warmup: n("warmup"),
    guidance: n("guidance"),
    threshold: n("threshold"),
    momentumScale: n("momentum_scale"),
    momentumBeta: n("momentum_beta"),
  };
}

/** The three predictions of each step to the guided one, without any net: the precise test of the arithmetic. */
async function checkSafeGuidance(check: Check, c: Case, sld: SldParameters, scale: number, plan: SamplerPlan): Promise<void> {
  const { golden } = check;
  const eps = await golden.floats(`${c.name}.eps`);
  const timesteps = await golden.floats(`${c.name}.timesteps`);
  await check.compare(c.name, "timesteps", plan.steps.map((s) => s.timestep), 1e-6);
  const n = eps.length / timesteps.length / 3;
  let momentum: NDArray = { data: new Float32Array(n), shape: [1, n] };
  const guided: number[] = [];
  for (const [i, t] of timesteps.entries()) {
    const inputs = {
      x: { data: eps.slice(3 * i * n, 3 * (i + 1) * n), shape: [3, n] },
      momentum,
      enabled: { data: Float32Array.of(t >= sld.warmup ? 1 : 0), shape: [1] },
    };
    const made = await compute(check.context, `safe guidance ${JSON.stringify(sld)} ${scale}`, inputs, (g, v) => ({
      ...safeGuidance(g, v["x"]!, v["momentum"]!, v["enabled"]!, sld, scale),
    }));
    momentum = made["momentum"]!;
    guided.push(...made["prediction"]!.data);
  }
  await check.compare(c.name, "noise_pred", guided, TOLERANCES.opForward);
}

/** The UNet's three predictions of every step, at the latents that the reference's own guided predictions lead to. */
async function checkPredictions(
  check: Check,
  c: Case,
  model: StableDiffusion,
  contexts: NDArray,
  noise: NDArray,
  plan: SamplerPlan,
): Promise<void> {
  const guided = await check.golden.floats(`${c.name}.noise_pred`);
  const n = noise.data.length;
  const state = startSampler(plan, noise.data);
  const all: number[] = [];
  for (const [i, step] of plan.steps.entries()) {
    const input = { data: modelInput(step, state) as Float32Array<ArrayBuffer>, shape: noise.shape };
    const { data } = await model.predictNoise(stackRows([input, input, input]), step.timestep, contexts);
    all.push(...data);
    runSamplerStep(step, state, guided.slice(i * n, (i + 1) * n));
  }
  await check.compare(c.name, "eps", all);
}
