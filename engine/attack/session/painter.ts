import { type RgbImage, tensorToImages } from "../../formats/picture/image.ts";
import type { NDArray } from "../../nn/array.ts";
import { type LearnedEmbedding, encodeLearned } from "../../diffusion/learned-embedding.ts";
import { Sampler } from "../../diffusion/sampler.ts";
import { type SamplerPlan, createSamplerPlan, judgedSchedulerJson } from "../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { Generator } from "../../runtime/random/random.ts";
import type { ResolvedOptions } from "../resolve.ts";

/** Sampling steps that may be queued before the first of them is waited for: a software adapter's queue has no end of its own. */
const QUEUED_STEPS = 4;

/** Draws the pictures that the judge sees: one picture, guided against no prompt, its noise from a generator restarted for each. */
export class Painter {
  /** Sampling steps. */
  readonly steps: number;
  private readonly plan: SamplerPlan;
  private unconditional: NDArray | undefined;

  /** @throws SchedulerConfigError if the scheduler cannot run with the model's noise schedule */
  constructor(
    private readonly model: StableDiffusion,
    private readonly options: ResolvedOptions,
    private readonly randomOf: (seed: number) => Generator,
  ) {
    const { scheduler, steps } = options;
    this.steps = steps;
    this.plan = createSamplerPlan(scheduler, judgedSchedulerJson(scheduler, model), steps);
  }

  /**
   * The picture of a prompt, tokenized as a user's would be.
   * @param onStep called when a step is done
   * @param learned a word of the prompt that has an embedding of its own
   * @throws AbortError when `options.signal` fires
   */
  async draw(
    prompt: string,
    { seed, guidance }: { readonly seed: number; readonly guidance: number },
    onStep: (step: number, steps: number) => void | Promise<void>,
    learned?: LearnedEmbedding,
  ): Promise<RgbImage> {
    const { model, plan, options } = this;
    const { device } = model;
    const [height, width] = options.latentSize;
    await model.parts.transport?.to(model, prompt);
    const context = await encodeLearned(model, prompt, learned ? [learned] : []);
    const early = options.safree === null
      ? undefined
      : await (await import("../../diffusion/steering/safree-prompts.ts")).defendedEncoding(model, prompt, options.safree);
    this.unconditional ??= await model.encodeNoPrompt();
    const random = this.randomOf(seed);
    const shape = [1, model.parts.unet.config.inChannels, height, width];
    const randn = (): Float32Array<ArrayBuffer> => random.randn(shape) as Float32Array<ArrayBuffer>;
    const sampler = Sampler.for(model, { batch: 1, height, width, length: context.shape[1]!, guidance });
    const queued: { step: number; done: Promise<void> }[] = [];
    const waitForOne = async (): Promise<void> => {
      const { step, done } = queued.shift()!;
      await done;
      await onStep(step, plan.steps.length);
    };
    const latents = await sampler.run({
      context,
      early,
      unconditional: this.unconditional,
      noise: { data: randn(), shape },
      plan,
      drawNoise: randn,
      signal: options.signal,
      onStep: async (step) => {
        const done = device.settle();
        done.catch(() => undefined); // waited for below, or the run has failed already
        queued.push({ step, done });
        if (queued.length > QUEUED_STEPS) await waitForOne();
      },
    });
    while (queued.length > 0) await waitForOne();
    const { data, shape: size } = await model.decodeLatents(latents);
    return tensorToImages(data, size)[0]!;
  }
}
