import { type RgbImage, tensorToImages } from "../../formats/picture/image.ts";
import { type Predict, denoise } from "../../diffusion/steering/denoise.ts";
import { guided } from "../../diffusion/steering/guided.ts";
import { type SamplerPlan, createSamplerPlan, judgedSchedulerJson, schedulerJsonFor } from "../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import type { NDArray } from "../../nn/array.ts";
import type { Generator } from "../../runtime/random/random.ts";
import { UsageError } from "../../runtime/errors.ts";
import type { Session } from "../session/session.ts";
import type { ResolvedOptions } from "../resolve.ts";

/** The other side of a control: a model that never saw the concept, or an unrelated prompt on the same model. */
export interface OtherSide {
  readonly model: StableDiffusion;
  readonly prompt: string;
}

/** A picture that a probe drew. */
export interface ProbePicture {
  readonly image: RgbImage;
  /** What the judge sees, if that is another: the repainted part. */
  readonly judged?: RgbImage;
  /** What was measured of it: nll, psnr ... */
  readonly figures?: Readonly<Record<string, number>>;
}

/** One try of a probe or of a control. All that is random in it comes from its seed, so that a resumed run draws the same. */
export interface ProbeUnit {
  /** Absent: the probe itself. */
  readonly control?: string;
  readonly prompt: string;
  readonly seed: number;
  /** The try's settings: eta, strength ... */
  readonly note: Readonly<Record<string, number | string>>;
  readonly draw: () => Promise<ProbePicture>;
}

/** Lists a probe's tries and then those of its controls. */
export type Probe = (studio: Studio) => Promise<ProbeUnit[]>;

/** What probes draw with: the model, its prompts and samplers, and the control's. */
export class Studio {
  readonly model: StableDiffusion;
  readonly options: ResolvedOptions;
  private readonly kept: { destroy(): Promise<void> }[] = [];

  constructor(readonly session: Session) {
    this.model = session.model;
    this.options = session.options;
  }

  get prompt(): string {
    return this.options.cases[0]!.prompt;
  }

  get seed(): number {
    return this.options.cases[0]!.seed;
  }

  get guidance(): number {
    return this.options.cases[0]!.guidance;
  }

  /** The probe's own side. */
  get own(): OtherSide {
    return { model: this.model, prompt: this.prompt };
  }

  /** The picture of the concept, [1, 3, H, W]. @throws UsageError without one */
  get picture(): NDArray {
    const { target } = this.options.cases[0]!;
    if (!target) throw new UsageError(`attacker "${this.options.attacker}" needs a target: a picture of the concept`);
    return target;
  }

  /** The model before unlearning. @throws UsageError without one */
  get original(): StableDiffusion {
    if (!this.options.original) throw new UsageError(`attacker "${this.options.attacker}" needs the model before unlearning`);
    return this.options.original;
  }

  /** What control "never-saw" is made with, if anything was given for it. */
  get other(): OtherSide | undefined {
    const { controlModel, controlPrompt } = this.options;
    if (controlModel) return { model: controlModel, prompt: this.prompt };
    return controlPrompt === null ? undefined : { model: this.model, prompt: controlPrompt };
  }

  /** Unit-normal noise of the latents' shape. */
  randn(random: Generator): Float32Array<ArrayBuffer> {
    return random.randn(this.latentShape) as Float32Array<ArrayBuffer>;
  }

  random(seed: number): Generator {
    return this.session.hooks.pictureRandom(seed);
  }

  get latentShape(): readonly [number, number, number, number] {
    return [1, this.model.parts.unet.config.inChannels, ...this.options.latentSize];
  }

  noise(seed: number): NDArray {
    return { data: this.randn(this.random(seed)), shape: this.latentShape };
  }

  /** Noise scaled as a plan begins. */
  start(plan: SamplerPlan, seed: number): NDArray {
    const { data, shape } = this.noise(seed);
    return { data: data.map((x) => x * plan.initNoiseSigma), shape };
  }

  /** Try number i of a side. @param draw given the try's seed @param control whose it is; absent: the probe's own */
  unit(
    i: number,
    { prompt }: Pick<OtherSide, "prompt">,
    control: string | undefined,
    note: ProbeUnit["note"],
    draw: (seed: number) => Promise<ProbePicture>,
  ): ProbeUnit {
    const seed = this.seed + i;
    return { ...(control !== undefined && { control }), prompt, seed, note, draw: () => draw(seed) };
  }

  /** The judged pictures' sampler. @param from entry of its timesteps to begin at */
  plan(from = 0, model = this.model): SamplerPlan {
    const { scheduler, steps } = this.options;
    return createSamplerPlan(scheduler, judgedSchedulerJson(scheduler, model), steps, { from });
  }

  /** DDIM, which some probes are defined by, whatever the judged pictures' sampler is. */
  ddim(from = 0): SamplerPlan {
    return createSamplerPlan("ddim", schedulerJsonFor("ddim", this.model.parts.scheduler, this.model.isXl), this.options.steps, { from });
  }

  async encode(prompt: string, model = this.model): Promise<NDArray> {
    await model.parts.transport?.to(model, prompt);
    return model.encodePrompt(prompt);
  }

  /** Guided predictions of a prompt. */
  async guided(prompt = this.prompt, model = this.model, scale = this.guidance): Promise<Predict> {
    const context = await this.encode(prompt, model);
    return guided(model, await model.encodeNoPrompt(), context, scale);
  }

  /** Runs the sampling loop, telling each step, and decodes. @returns latents and picture */
  async draw(
    run: Pick<Parameters<typeof denoise>[0], "plan" | "start" | "predict" | "drawNoise" | "after">,
    model = this.model,
  ): Promise<{ readonly latents: NDArray; readonly image: RgbImage }> {
    const latents = await denoise({
      ...run,
      signal: this.options.signal,
      onStep: (step, steps) => this.session.emit({ type: "sampling", step, steps }),
    });
    return { latents, image: await this.decode(latents, model) };
  }

  async decode(latents: NDArray, model = this.model): Promise<RgbImage> {
    const { data, shape } = await model.decodeLatents(latents);
    return tensorToImages(data, shape)[0]!;
  }

  /** Frees something when the probe is done. */
  keep<T extends { destroy(): Promise<void> }>(thing: T): T {
    this.kept.push(thing);
    return thing;
  }

  async destroy(): Promise<void> {
    for (const thing of this.kept) await thing.destroy();
  }
}

/** Every pair of two lists, the second changing faster. */
export function pairsOf<A, B>(a: readonly A[], b: readonly B[]): (readonly [A, B])[] {
  return a.flatMap((x) => b.map((y) => [x, y] as const));
}

/** Whole numbers from 0 to below n. */
export function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i);
}
