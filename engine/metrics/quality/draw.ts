import { encodeLearned } from "../../diffusion/learned-embedding.ts";
import { Sampler } from "../../diffusion/sampler.ts";
import {
  type SamplerPlan, type SchedulerName, createSamplerPlan, judgedSchedulerJson,
} from "../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { type RgbImage, tensorToImages } from "../../formats/picture/image.ts";
import { manualSeed } from "../../runtime/random/random.ts";
import { type NDArray, joined, stackRows } from "../../nn/array.ts";
import type { Caption } from "./captions.ts";

export interface DrawOptions {
  readonly steps: number;
  readonly scheduler: SchedulerName;
  readonly guidance: number;
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((step: number, steps: number) => void | Promise<void>) | undefined;
}

/**
 * Draws captions as the benchmark does: each from torch's CPU `randn([1, C, h, w])` of its own seed, guided against the empty prompt, at
 * the model's own size; those of one call as one batch, whose size does not change the pictures' noise.
 * Source: AdvUnlearn train-scripts/generate-example-img.py:122-219
 */
export class CaptionPainter {
  private readonly plan: SamplerPlan;
  private unconditional: NDArray | undefined;

  /** @throws SchedulerConfigError if the scheduler cannot run with the model's noise schedule */
  constructor(
    private readonly model: StableDiffusion,
    private readonly options: DrawOptions,
  ) {
    const { scheduler, steps } = options;
    this.plan = createSamplerPlan(scheduler, judgedSchedulerJson(scheduler, model), steps);
  }

  /** Pictures that are best drawn together: one where the model's weights follow the prompt. */
  batchOf(wanted: number): number {
    return this.model.parts.transport ? 1 : wanted;
  }

  /** @throws AbortError when the signal fires; GpuError for numbers that are not finite */
  async draw(captions: readonly Caption[]): Promise<RgbImage[]> {
    const { model, plan, options } = this;
    const [height, width] = model.defaultLatentSize;
    for (const { prompt } of captions) await model.parts.transport?.to(model, prompt);
    this.unconditional ??= await model.encodeNoPrompt();
    const texts: NDArray[] = [];
    for (const { prompt } of captions) texts.push(await encodeLearned(model, prompt, []));
    const generators = captions.map(({ seed }) => manualSeed(seed));
    const shape = [1, model.parts.unet.config.inChannels, height, width];
    const drawNoise = (): Float32Array<ArrayBuffer> => joined(generators.map((g) => g.randn(shape)));
    const context = stackRows(texts);
    const sampler = Sampler.for(model, { batch: captions.length, height, width, length: context.shape[1]!, guidance: options.guidance });
    const latents = await sampler.run({
      context,
      unconditional: stackRows(captions.map(() => this.unconditional!)),
      noise: { data: drawNoise(), shape: [captions.length, ...shape.slice(1)] },
      plan,
      drawNoise,
      signal: options.signal,
      onStep: (step, steps) => options.onStep?.(step, steps),
    });
    const pictures: RgbImage[] = [];
    const size = latents.data.length / captions.length;
    for (let i = 0; i < captions.length; i++) {
      const one = { data: latents.data.slice(i * size, (i + 1) * size), shape };
      const { data, shape: pixels } = await model.decodeLatents(one);
      pictures.push(tensorToImages(data, pixels)[0]!);
    }
    return pictures;
  }
}
