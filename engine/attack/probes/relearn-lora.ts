import { f32 } from "../../../kernels/kernel.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { type Moments, posteriorSample } from "../../diffusion/steering/encode.ts";
import { guided } from "../../diffusion/steering/guided.ts";
import { type NDArray, toChannelsLast } from "../../nn/array.ts";
import type { Generator } from "../../runtime/random/random.ts";
import { UsageError } from "../../runtime/errors.ts";
import { lowRankAdapter } from "../../train/low-rank.ts";
import { recordNoiseLoss } from "../../train/noise-loss.ts";
import { Trainer } from "../../train/trainer.ts";
import { variantOf } from "../../train/variant.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { parseNumbers } from "./option-table.ts";
import { type OtherSide, type Probe, type ProbeUnit, type Studio, pairsOf, upTo } from "./studio.ts";

/** Of AdamW, and the norm that gradients are clipped to: those of diffusers' examples/text_to_image/train_text_to_image_lora.py. */
const ADAM = { weightDecay: 0.01, clipNorm: 1 } as const;

/** Which attentions get an addition. */
const ATTENTIONS: Readonly<Record<ResolvedOptions["loraTargets"], RegExp>> = { attention: /\.attn[12]$/, "cross-attention": /\.attn2$/ };

/**
 * A few LoRA steps (arXiv 2106.09685) on a few pictures of the concept, and then its prompt: whether it comes back faster than it would be
 * learned. A training of N steps goes on to the next number of steps; pictures and prompts are the controls' own.
 */
export const relearnLora: Probe = async (studio) => {
  const { own, prompt, other, options } = studio;
  const { target } = options.cases[0]!;
  const { concept = target ? [target] : [], other: ordinary = options.controlPicture ? [options.controlPicture] : [] } =
    options.probePictures ?? {};
  if (concept.length === 0) throw new UsageError('attacker "relearn-lora" needs pictures of the concept: a target, or several to train on');
  const counts = parseNumbers(options.relearnSteps).toSorted((a, b) => a - b);
  let trained: { readonly of: string; readonly training: Relearning } | undefined;
  studio.keep({ destroy: async () => trained?.training.destroy() });
  /** The side's model after so many steps. One side is in memory at a time. */
  const after = async (steps: number, side: OtherSide, lesson: Lesson, control = ""): Promise<StableDiffusion> => {
    if (trained?.of !== control || trained.training.steps > steps) {
      await trained?.training.destroy();
      trained = undefined;
      trained = { of: control, training: await Relearning.of(studio, side.model, lesson) };
    }
    await trained.training.to(steps);
    return trained.training.model;
  };
  const units = (side: OtherSide, lesson: Lesson, control?: string): ProbeUnit[] =>
    pairsOf(counts, upTo(options.seeds)).map(([steps, i]) =>
      studio.unit(i, side, control, { trainingSteps: steps }, async (seed) => {
        const relearned = await after(steps, side, lesson, control);
        const [empty, context] = [await side.model.encodeNoPrompt(), await studio.encode(side.prompt, side.model)];
        const plan = studio.plan(0, side.model);
        const predict = guided(relearned, empty, context, studio.guidance);
        return studio.draw({ plan, start: studio.start(plan, seed), predict }, side.model);
      }),
    );
  return [
    ...units(own, { pictures: concept, prompt }),
    ...(ordinary.length > 0 ? units(own, { pictures: ordinary, prompt: options.controlPrompt ?? "" }, "unrelated") : []),
    ...(other ? units(other, { pictures: concept, prompt: other.prompt }, "never-saw") : []),
  ];
};

/** What is trained on. */
interface Lesson {
  /** [1, 3, H, W] each. */
  readonly pictures: readonly NDArray[];
  /** Of all of them. */
  readonly prompt: string;
}

/** A training of a low-rank addition that stops for pictures. It is the same whether it is stopped or not, and from run to run. */
class Relearning {
  private constructor(
    private readonly studio: Studio,
    readonly model: StableDiffusion,
    private readonly trainer: Trainer,
    private readonly random: Generator,
    private readonly context: NDArray,
    private readonly moments: readonly Moments[],
  ) {}

  static async of(studio: Studio, base: StableDiffusion, lesson: Lesson): Promise<Relearning> {
    const { loraRank: rank, loraAlpha, loraTargets, latentSize } = studio.options;
    const random = studio.random(studio.options.attackSeed ?? 0);
    const { adapter, tensors } = lowRankAdapter(base, "unet", {
      rank,
      alpha: loraAlpha ?? rank,
      tensors: base.parts.unet.parameters.source.names(),
      attention: ATTENTIONS[loraTargets],
      initial: (_, shape, kind) =>
        kind === "up" ? new Float32Array(shape[0] * shape[1]) : Float32Array.from(random.randn(shape), (x) => x / rank),
    });
    const own = new Set(tensors);
    const model = variantOf(base, { owns: () => false, adapters: { unet: adapter } });
    const context = await studio.encode(lesson.prompt, base);
    const trainer = new Trainer(model, {
      name: "relearn",
      decay: "decoupled",
      clipNorm: ADAM.clipNorm,
      trains: (tensor) => own.has(tensor),
      owners: [adapter.parameters],
      record: (g) => recordNoiseLoss(g, model, g.input("context", f32(context.shape)), 1, latentSize),
    });
    await trainer.prepare();
    const moments: Moments[] = [];
    for (const picture of lesson.pictures) moments.push(await base.encodeMoments(picture));
    return new Relearning(studio, model, trainer, random, context, moments);
  }

  get steps(): number {
    return this.trainer.steps;
  }

  /** Trains on, one picture at a time and all of them in turn, each noised at a timestep of its own. @throws AbortError */
  async to(steps: number): Promise<void> {
    const { studio, model, trainer, random, moments } = this;
    const { signal, latentSize, relearnRate: lr } = studio.options;
    const { vae } = model.parts;
    while (trainer.steps < steps) {
      signal?.throwIfAborted();
      const latents = posteriorSample(moments[trainer.steps % moments.length]!, studio.randn(random), vae.config.scalingFactor);
      const timestep = random.randint(model.alphasCumprod.length, 1)[0]!;
      const { noised, target } = model.addNoise(latents, { data: studio.randn(random), shape: latents.shape }, timestep);
      await trainer.step(
        {
          noised: toChannelsLast(noised),
          target: toChannelsLast(target),
          features: model.timestepFeatures([timestep], model.sizesOf(...latentSize)),
          context: this.context.data,
        },
        { adam: { lr, weightDecay: ADAM.weightDecay }, signal },
      );
      await studio.session.emit({ type: "sampling", step: trainer.steps, steps });
    }
  }

  async destroy(): Promise<void> {
    this.trainer.destroy();
    await this.model.destroy();
  }
}
