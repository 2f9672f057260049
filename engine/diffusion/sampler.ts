import { concat } from "../../kernels/concat.ts";
import { guidance, safeGuidance } from "../../kernels/guidance.ts";
import { type Value, f32 } from "../../kernels/kernel.ts";
import { linearCombination } from "../../kernels/linear-combination.ts";
import { Graph } from "../runtime/graph.ts";
import type { HostArray, Program, ProgramOptions } from "../runtime/program.ts";
import { Tensor } from "../runtime/tensor.ts";
import { type NDArray, expectShape, fromChannelsLast, toChannelsLast } from "../nn/array.ts";
import { requireFinite } from "./finite.ts";
import type { SldParameters } from "./guidance.ts";
import type { LinearCombination, Operand, SamplerPlan, SamplerStep } from "./schedulers/index.ts";
import type { SizeConditions } from "./model/sizes.ts";
import type { StableDiffusion } from "./stable-diffusion.ts";

export interface SamplerShape {
  /** Pictures made together. */
  readonly batch: number;
  /** Latent height and width. */
  readonly height: number;
  readonly width: number;
  /** Rows of the context: `encodingRows` of its tokens. */
  readonly length: number;
  /** Guidance scale; 1 or less: the prompt alone, one model row per picture. */
  readonly guidance: number;
  readonly sld?: SldParameters;
}

export interface SampleInputs {
  /** Text encoding of the prompts, [batch, length, D]. */
  readonly context: NDArray;
  /** Another encoding of the prompts, [batch, length, D], for the steps from 0 to `lastStep`, as SAFREE has. */
  readonly early?: { readonly context: NDArray; readonly lastStep: number } | undefined;
  /** Text encoding of the negative (or empty) prompts, [batch, length, D]; used when guidance is above 1. */
  readonly unconditional: NDArray;
  /** Text encoding of the safety concept, [batch, length, D]; used with `sld`. */
  readonly safety?: NDArray;
  /** SDXL: what the prompts' rows, and the unconditional ones', are told of the picture's size. Default: its own size, and the same. */
  readonly sizes?: SizeConditions | undefined;
  readonly negativeSizes?: SizeConditions | undefined;
  /** Unit-normal noise to start from, [batch, C, h, w]. */
  readonly noise: NDArray;
  readonly plan: SamplerPlan;
  /** Fresh unit-normal noise of the latents' shape (NCHW), for schedulers that add some. */
  readonly drawNoise: () => Float32Array<ArrayBuffer>;
  /** Ends the run before its next command buffer. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Called after each step is queued, which is when the device is near it; a rejected promise ends the run. Reading the latents is on
   * demand, since it waits for the device.
   */
  readonly onStep?: (step: number, steps: number, latents: () => Promise<NDArray>) => void | Promise<void>;
}

/** PNDM keeps the most: four outputs and the sample. */
const MAX_HISTORY = 5;

/**
 * The sampling loop on the device: the sample, the model's output and the scheduler's history stay there from the first
 * step to the last. Both halves of guidance are one batch.
 */
export class Sampler {
  /** The latents, [batch, h, w, C]. */
  readonly sample: Tensor;
  private readonly output: Tensor;
  private readonly momentum: Tensor;
  private readonly slots: Tensor[];
  /** What the UNet takes of the text: the same for all steps. */
  private readonly text: readonly Tensor[];
  private readonly contextShape: readonly [number, number, number];
  private readonly latentShape: readonly [number, number, number, number];

  private constructor(private readonly model: StableDiffusion, private readonly shape: SamplerShape, private readonly key: string) {
    const { device, parts } = model;
    const { batch, height, width, length } = shape;
    this.latentShape = [batch, height, width, parts.unet.config.inChannels];
    const state = (name: string): Tensor => new Tensor(device, name, { shape: this.latentShape, dtype: "f32" });
    this.sample = state("sample");
    this.output = state("output");
    this.momentum = state("momentum");
    this.slots = Array.from({ length: MAX_HISTORY }, (_, i) => state(`history ${i}`));
    this.contextShape = [batch * this.rows, length, parts.unet.config.crossAttentionDim];
    this.text = this.recordText(new Graph()).map(({ type }, i) => new Tensor(device, `text ${i}`, type));
  }

  /** The sampler of a shape; made once per model. */
  static for(model: StableDiffusion, shape: SamplerShape): Sampler {
    const key = `sample ${JSON.stringify(shape)}`;
    return model.keep(key, () => new Sampler(model, shape, key));
  }

  /** Model rows per picture: prompt alone, with the unconditional one, with the safety concept. */
  private get rows(): number {
    return this.shape.sld ? 3 : this.shape.guidance > 1 ? 2 : 1;
  }

  /**
   * Runs the plan and returns the final latents [batch, C, h, w], scaled as the UNet sees them.
   * @throws ShapeError on sizes that do not fit; AbortError
   */
  async run(inputs: SampleInputs): Promise<NDArray> {
    await this.queue(inputs);
    return this.latents();
  }

  /** The same without reading the latents back: they will be in `sample` until the sampler is used again. @throws as `run` */
  async queue(inputs: SampleInputs): Promise<void> {
    const { batch, height, width, length } = this.shape;
    const { plan, drawNoise, onStep, signal } = inputs;
    const channels = this.latentShape[3];
    const contextDim = this.contextShape[2];
    if (plan.historySlots > MAX_HISTORY) {
      throw new Error(`a sampler plan with ${plan.historySlots} history slots; at most ${MAX_HISTORY} are kept`);
    }
    const text = await this.model.program(`${this.key} text`, (g) => ({
      outputs: {},
      assigns: this.recordText(g).map((product, i) => [this.text[i]!, product]),
    }));
    const useContext = (context: NDArray): Promise<void> => {
      const contexts = this.shape.sld
        ? [inputs.unconditional, context, inputs.safety!]
        : this.rows === 2
          ? [inputs.unconditional, context]
          : [context];
      const rows = new Float32Array(this.contextShape.reduce((a, b) => a * b, 1));
      contexts.forEach((c, i) =>
        rows.set(expectShape("sampler context", c, [batch, length, contextDim]).data, (i * rows.length) / contexts.length),
      );
      return text.run({ context: rows });
    };
    const { early } = inputs;
    await useContext(early?.context ?? inputs.context);
    expectShape("sampler noise", inputs.noise, [batch, channels, height, width]);
    this.sample.write(toChannelsLast(inputs.noise).map((x) => x * plan.initNoiseSigma));
    const zeros = new Float32Array(this.latentShape.reduce((a, b) => a * b, 1));
    for (const tensor of [this.momentum, ...this.slots]) tensor.write(zeros);

    const sizes = inputs.sizes ?? this.model.sizesOf(height, width);
    // Rows lie as the contexts do: the unconditional ones first.
    const rowSizes = Array.from({ length: batch * this.rows }, (_, i) =>
      this.rows > 1 && i < batch ? (inputs.negativeSizes ?? sizes) : sizes,
    );
    const predict = await this.model.program(this.key, (g) => this.recordPrediction(g));
    for (const [i, step] of plan.steps.entries()) {
      if (early && i === early.lastStep + 1) await useContext(inputs.context);
      const update = await this.updateProgram(step);
      await predict.run({
        inputScale: Float32Array.of(step.inputScale),
        features: this.model.timestepFeatures(new Array<number>(batch * this.rows).fill(step.timestep), rowSizes),
        ...(this.shape.sld && { enabled: Float32Array.of(step.timestep >= this.shape.sld.warmup ? 1 : 0) }),
      }, { signal });
      const noise = step.needsNoise ? drawNoise() : undefined;
      await update.run(this.updateInputs(step, noise));
      await onStep?.(i + 1, plan.steps.length, () => this.latents());
    }
  }

  private async latents(): Promise<NDArray> {
    return fromChannelsLast(
      requireFinite(this.model.device, "an element of the latents", (await this.sample.read()) as Float32Array<ArrayBuffer>),
      this.latentShape,
    );
  }

  private recordText(g: Graph): Value[] {
    g.storesHalves = false;
    return this.model.recordTextProducts(g, g.input("context", f32(this.contextShape)));
  }

  private recordPrediction(g: Graph): ProgramOptions {
    // Steps hand their rounding on: with text and steps stored as f16 a bundled model's picture was up to 8 levels off, without up to 4.
    g.storesHalves = false;
    const { sld, guidance: scale, batch } = this.shape;
    const scaled = linearCombination(g, g.input("inputScale", { shape: [1], dtype: "f32" }), [g.tensor(this.sample)]);
    let rows: Value = scaled;
    for (let i = 1; i < this.rows; i++) rows = concat(g, rows, scaled, 0);
    const features = g.input("features", { shape: [batch * this.rows, this.model.featureWidth], dtype: "f32" });
    const eps = this.model.recordUNet(g, rows, features, this.text.map((t) => g.tensor(t)));
    if (!sld) return { outputs: {}, assigns: [[this.output, this.rows === 2 ? guidance(g, eps, scale) : eps]] };
    const enabled = g.input("enabled", { shape: [1], dtype: "f32" });
    const safe = safeGuidance(g, eps, g.tensor(this.momentum), enabled, sld, scale);
    return { outputs: {}, assigns: [[this.output, safe.prediction], [this.momentum, safe.momentum]] };
  }

  /** The update after the model call. Steps that combine the same operands share one program and differ in its coefficients. */
  private updateProgram(step: SamplerStep): Promise<Program> {
    const structure = JSON.stringify([...step.stores.map((s) => [s.slot, form(s.value)]), form(step.next)]);
    return this.model.program(`${this.key} update ${structure}`, (g) => {
      const slots: Value[] = this.slots.map((t) => g.tensor(t));
      const sample = g.tensor(this.sample);
      const value = (operand: Operand): Value => {
        if (operand === "sample") return sample;
        if (operand === "output") return g.tensor(this.output);
        return operand === "noise" ? g.input("noise", sample.type) : slots[operand]!;
      };
      const combine = (name: string, { terms, clamp }: LinearCombination): Value => {
        const coefficients = g.input(name, { shape: [terms.length], dtype: "f32" });
        return linearCombination(
          g,
          coefficients,
          terms.map((t) => value(t.operand)),
          clamp === undefined ? {} : { clamp: [-clamp, clamp] },
        );
      };
      const assigns: [Tensor, Value][] = step.stores.map((store, i) => {
        slots[store.slot] = combine(`store ${i}`, store.value);
        return [this.slots[store.slot]!, slots[store.slot]!];
      });
      return { outputs: {}, assigns: [...assigns, [this.sample, combine("next", step.next)]] };
    });
  }

  private updateInputs(step: SamplerStep, noise: Float32Array<ArrayBuffer> | undefined): Record<string, HostArray> {
    const coefficients = ({ terms }: LinearCombination): Float32Array<ArrayBuffer> => Float32Array.from(terms, (t) => t.coefficient);
    const all = [...step.stores.map((s) => s.value), step.next];
    const used = all.some((c) => c.terms.some((t) => t.operand === "noise"));
    const [batch, height, width, channels] = this.latentShape;
    return {
      ...Object.fromEntries(step.stores.map((s, i) => [`store ${i}`, coefficients(s.value)])),
      next: coefficients(step.next),
      ...(used && { noise: toChannelsLast({ data: noise!, shape: [batch, channels, height, width] }) }),
    };
  }

  destroy(): void {
    for (const tensor of [this.sample, this.output, this.momentum, ...this.text, ...this.slots]) tensor.destroy();
  }
}

/** Which operands a combination takes and how it is clamped; all that its program depends on. */
function form({ terms, clamp }: LinearCombination): readonly unknown[] {
  return [terms.map((t) => t.operand), clamp ?? null];
}
