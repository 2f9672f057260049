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
import type { Form, VerifyContext } from "../../context.ts";
import type { Golden, Json } from "../../golden.ts";
import { type NDArray, stackRows } from "../../../nn/array.ts";
import { asPicture, sampleLatents } from "../../pictures.ts";
import { type Rows, TOLERANCES, type Tolerances, relativeL2 } from "../../rows.ts";

type Case = Json & { readonly name: string };

/** `samples`: the field's pipeline with each scheduler, the attack's own sampler, Safe Latent Diffusion. */
export const samples: Form = async (golden, rows, context) => {
  const model = await context.model();
  for (const c of golden.cases) {
    await rows.guard(c.name, "latents", async () => {
      if (c.name.startsWith("pipe.")) await checkPipeline(golden, c, rows, model);
      else if (c.name.startsWith("attack.") || c.name.startsWith("sld.")) await checkAttackSampler(golden, c, rows, model, context);
      else rows.failed(c.name, "latents", "cases are named pipe.*, attack.* or sld.*");
    });
  }
};

async function ids(golden: Golden, which: unknown): Promise<Int32Array> {
  return golden.ints(`ids.${String(which)}`);
}

/** diffusers' StableDiffusionPipeline: the model's own scheduler settings as the pipeline changes them. */
async function checkPipeline(golden: Golden, c: Case, rows: Rows, model: StableDiffusion): Promise<void> {
  const steps = typeof c["steps"] === "number" ? c["steps"] : golden.number("steps");
  const plan = createSamplerPlan(schedulerNameOf(c["scheduler"]), pipelineSchedulerConfig(model.parts.scheduler), steps);
  const request = {
    ids: await ids(golden, "prompt"),
    negative: await ids(golden, c["negative_prompt"]),
    noise: await golden.array("init_latent"),
    plan,
    guidance: golden.number("guidance_scale"),
  };
  const all = await sampleLatents(model, request, golden.has(`${c.name}.steps`));
  const last = all.at(-1)!;
  if (golden.has(`${c.name}.steps`)) {
    const expected = await golden.floats(`${c.name}.steps`);
    const size = last.data.length;
    // The pipeline hands out no latents for its warm-up steps: PNDM's first of one more than asked for.
    const shown = all.slice(Math.max(0, all.length - steps));
    // Each step against its own reference; the row holds the worst.
    const errors = shown.map((step, i) => relativeL2(step.data, expected.subarray(i * size, (i + 1) * size)));
    rows.error(
      c.name,
      "steps",
      shown.length * size === expected.length ? Math.max(...errors) : Infinity,
      rows.tolerances.sample,
      "relative L2",
    );
  }
  rows.compare(c.name, "latents", last.data, await golden.floats(`${c.name}.latents`), rows.tolerances.sample);
  await comparePictures(golden, c, rows, await model.decodeLatents(last), rows.tolerances.sample, rows.tolerances.levels);
}

async function comparePictures(
  golden: Golden,
  c: Case,
  rows: Rows,
  decoded: NDArray,
  tolerance: number,
  levels: number | undefined,
): Promise<void> {
  const { image, uint8 } = asPicture(decoded);
  if (golden.has(`${c.name}.image`)) rows.compare(c.name, "image", image, await golden.floats(`${c.name}.image`), tolerance);
  if (!golden.has(`${c.name}.uint8`)) return;
  const expected = await golden.ints(`${c.name}.uint8`);
  if (levels !== undefined) rows.compare(c.name, "uint8", uint8, expected, levels, "levels");
  else rows.compare(c.name, "uint8", uint8, expected, tolerance);
}

/**
 * SLD's latents: its threshold switches elements on rounding, so the case states its `sensitivity`, the change when every weight changes by
 * 1e-6, and an engine of float32 accuracy lands within ten times that. The references grant no more than 2e-2.
 */
function sldTolerance(golden: Golden, c: Case, { sample, safeSample, sensitivityFactor }: Tolerances): number {
  return Math.max(sample, Math.min(safeSample, sensitivityFactor * golden.number("sensitivity", c)));
}

/** ClassifierTask.sampling of the attack's reference code: LMS with linspace spacing, whatever the model's file says. */
async function checkAttackSampler(golden: Golden, c: Case, rows: Rows, model: StableDiffusion, context: VerifyContext): Promise<void> {
  const plan = createSamplerPlan("lms", noiseScheduleOnly(model.parts.scheduler), golden.number("steps", c));
  const strength = typeof c["sld"] === "string" ? c["sld"] : undefined;
  const sld = strength === undefined ? undefined : sldParameters(golden, strength);
  const noise = await golden.array("attack.init_latent");
  const [prompt, negative] = [await ids(golden, "prompt"), await ids(golden, c["negative_prompt"])];
  const safety = sld ? await ids(golden, "safety") : undefined;
  const guidance = golden.number("guidance_scale");
  if (sld && safety && golden.has(`${c.name}.eps`)) {
    const texts = [negative, prompt, safety];
    await rows.guard(c.name, "noise_pred", () => checkSafeGuidance(golden, c, rows, context, sld, guidance, plan));
    await rows.guard(c.name, "eps", () => checkPredictions(golden, c, rows, model, texts, noise, plan));
  }
  const [last] = await sampleLatents(model, { ids: prompt, negative, safety, sld, noise, plan, guidance });
  const z = last!.data.map((x) => x / model.parts.vae.config.scalingFactor);
  const tolerance = sld ? sldTolerance(golden, c, rows.tolerances) : rows.tolerances.sample;
  rows.compare(c.name, "z", z, await golden.floats(`${c.name}.z`), tolerance);
  // Pictures of a chain that amplifies rounding are judged like its latents.
  await comparePictures(
    golden,
    c,
    rows,
    await model.decodeLatents(last!),
    tolerance,
    tolerance > rows.tolerances.sample ? undefined : rows.tolerances.levels,
  );
}

function sldParameters(golden: Golden, strength: string): SldParameters {
  const given = golden.object(strength, golden.object("sld"));
  const [warmup, guidance, threshold] = (["warmup", "guidance", "threshold"] as const).map((k) => golden.number(k, given)) as [
    number,
    number,
    number,
  ];
  return {
    warmup,
    guidance,
    threshold,
    momentumScale: golden.number("momentum_scale", given),
    momentumBeta: golden.number("momentum_beta", given),
  };
}

/** The three predictions of each step to the guided one, without any net: the precise test of the arithmetic. */
async function checkSafeGuidance(
  golden: Golden,
  c: Case,
  rows: Rows,
  context: VerifyContext,
  sld: SldParameters,
  scale: number,
  plan: SamplerPlan,
): Promise<void> {
  const eps = await golden.floats(`${c.name}.eps`);
  const expected = await golden.floats(`${c.name}.noise_pred`);
  const timesteps = await golden.floats(`${c.name}.timesteps`);
  rows.compare(c.name, "timesteps", plan.steps.map((s) => s.timestep), timesteps, 1e-6);
  const n = expected.length / timesteps.length;
  let momentum = new Float32Array(n);
  const guided: number[] = [];
  for (const [i, t] of timesteps.entries()) {
    const inputs = {
      x: { data: eps.slice(3 * i * n, 3 * (i + 1) * n), shape: [3, n] },
      momentum: { data: momentum, shape: [1, n] },
      enabled: { data: Float32Array.of(t >= sld.warmup ? 1 : 0), shape: [1] },
    };
    const result = await context.run(`safe guidance ${JSON.stringify(sld)} ${scale}`, inputs, (g, v) => ({
      ...safeGuidance(g, v["x"]!, v["momentum"]!, v["enabled"]!, sld, scale),
    }));
    momentum = result["momentum"] as Float32Array<ArrayBuffer>;
    guided.push(...result["prediction"]!);
  }
  rows.compare(c.name, "noise_pred", guided, expected, TOLERANCES.opForward);
}

/** The UNet's three predictions of every step, at the latents that the reference's own guided predictions lead to. */
async function checkPredictions(
  golden: Golden,
  c: Case,
  rows: Rows,
  model: StableDiffusion,
  texts: readonly Int32Array[],
  noise: NDArray,
  plan: SamplerPlan,
): Promise<void> {
  const expected = await golden.floats(`${c.name}.eps`);
  const guided = await golden.floats(`${c.name}.noise_pred`);
  const n = noise.data.length;
  const context = stackRows(await Promise.all(texts.map((t) => model.encodeText(t))));
  const state = startSampler(plan, noise.data);
  const all: number[] = [];
  for (const [i, step] of plan.steps.entries()) {
    const input = { data: modelInput(step, state) as Float32Array<ArrayBuffer>, shape: noise.shape };
    const { data } = await model.predictNoise(stackRows([input, input, input]), step.timestep, context);
    all.push(...data);
    runSamplerStep(step, state, guided.slice(i * n, (i + 1) * n));
  }
  rows.compare(c.name, "eps", all, expected, rows.tolerances.model);
}
