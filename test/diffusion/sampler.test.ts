// The sampling loop on the device, step by step against the same plan on the host with the model's own predictions: what is combined,
// scaled, kept and drawn.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type SldParameters, classifierFreeGuidance, safeLatentGuidance } from "../../engine/diffusion/guidance.ts";
import { Sampler } from "../../engine/diffusion/sampler.ts";
import {
  type SchedulerName,
  createSamplerPlan,
  modelInput,
  runSamplerStep,
  startSampler,
} from "../../engine/diffusion/schedulers/index.ts";
import type { NDArray } from "../../engine/nn/array.ts";
import { Generator } from "../../engine/runtime/random/random.ts";
import { finish } from "../support/device.ts";
import { emojiModel } from "../support/emoji.ts";
import { relativeError } from "../support/op-test.ts";

const STEPS = 5;
const SHAPE = [1, 4, 8, 8] as const;

interface Case {
  readonly scheduler: SchedulerName;
  readonly guidance: number;
  readonly eta?: number;
  readonly config?: Readonly<Record<string, unknown>>;
  /** Safe Latent Diffusion, whose warm-up ends at this step's timestep. */
  readonly safeFrom?: number;
}

const CASES: readonly Case[] = [
  { scheduler: "ddim", guidance: 1.5, eta: 1 },
  { scheduler: "lms", guidance: 7.5 },
  { scheduler: "pndm", guidance: 3, config: { skip_prk_steps: true } },
  { scheduler: "euler", guidance: 1, config: { timestep_spacing: "leading", steps_offset: 1 } },
  { scheduler: "euler-ancestral", guidance: 7.5 },
  { scheduler: "dpm++2m", guidance: 4 },
  { scheduler: "ddpm", guidance: 2, config: { clip_sample: true, clip_sample_range: 0.8 } },
  { scheduler: "ddim", guidance: 4, safeFrom: 2 },
];

for (const { scheduler, guidance, eta = 0, config = {}, safeFrom } of CASES) {
  const safely = safeFrom === undefined ? "" : ", away from a concept";
  test(`${scheduler}, guidance ${guidance}${safely}: every step, and again from the start`, async () => {
    const model = await emojiModel();
    const plan = createSamplerPlan(scheduler, { ...model.parts.scheduler, ...config }, STEPS, { eta });
    const sld: SldParameters | undefined =
      safeFrom === undefined
        ? undefined
        : { warmup: plan.steps[safeFrom]!.timestep, guidance: 3000, threshold: 0, momentumScale: 0.5, momentumBeta: 0.7 };
    const [context, unconditional, safety] = (await Promise.all(
      ["a church", "", "a fish"].map((text) => model.encodeText(model.tokenizer.encode(text))),
    )) as [NDArray, NDArray, NDArray];
    const noise: NDArray = { data: new Generator(4).randn(SHAPE) as Float32Array<ArrayBuffer>, shape: SHAPE };

    const state = startSampler(plan, noise.data);
    const random = new Generator(5);
    const momentum = new Float32Array(256);
    const expected: Float32Array[] = [];
    for (const step of plan.steps) {
      const input: NDArray = { data: modelInput(step, state) as Float32Array<ArrayBuffer>, shape: SHAPE };
      const predict = async (text: NDArray): Promise<Float32Array> => (await model.predictNoise(input, step.timestep, text)).data;
      const text = await predict(context);
      const output = sld
        ? safeLatentGuidance(
            { unconditional: await predict(unconditional), text, safety: await predict(safety) },
            momentum,
            sld,
            guidance,
            step.timestep,
          )
        : guidance > 1
          ? classifierFreeGuidance(await predict(unconditional), text, guidance)
          : text;
      runSamplerStep(step, state, output, step.needsNoise ? random.randn(SHAPE) : undefined);
      expected.push(state.sample.slice());
    }

    const sampler = Sampler.for(model, { batch: 1, height: 8, width: 8, length: 32, guidance, ...(sld && { sld }) });
    for (const turn of ["first", "second"]) {
      const drawn = new Generator(5);
      const drawNoise = (): Float32Array<ArrayBuffer> => drawn.randn(SHAPE) as Float32Array<ArrayBuffer>;
      const steps: Float32Array[] = [];
      const onStep = async (_step: number, _steps: number, latents: () => Promise<NDArray>): Promise<void> =>
        void steps.push((await latents()).data);
      await sampler.run({ context, unconditional, safety, noise, plan, drawNoise, onStep });
      assert.is(steps.length, expected.length);
      steps.forEach((latents, i) => {
        const error = relativeError(latents, expected[i]!);
        assert.ok(error < 1e-4, `${turn} run, step ${i}: off by ${error}`);
      });
    }
  });
}

finish();
