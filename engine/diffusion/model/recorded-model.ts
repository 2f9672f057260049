import type { Tokenizer } from "../../../tokenizer/index.ts";
import type { Value } from "../../../kernels/kernel.ts";
import { Layers } from "../../nn/layers.ts";
import type { LeafStore } from "../../nn/leaf-store.ts";
import type { Parameters } from "../../nn/parameters.ts";
import { ProgramCache, type Recording } from "../../nn/program-cache.ts";
import type { Device } from "../../runtime/device.ts";
import type { Graph } from "../../runtime/graph.ts";
import type { planStreams } from "../../runtime/plan/streaming.ts";
import type { Program } from "../../runtime/program.ts";
import { type PredictionType, type SchedulerJson, alphasCumprod, noiseScheduleOnly, parseSchedulerConfig } from "../schedulers/index.ts";
import { textProducts } from "../unet-conditions.ts";
import { type UNetConfig, featureWidth } from "../unet-config.ts";
import { timestepFeatures, unet } from "../unet.ts";
import { type VaeConfig, vaeDecode, vaeEncode } from "../vae.ts";
import { type SizeConditions, ownSize, sizeNumbers } from "./sizes.ts";
import { OneEncoder, type TextEncoderPart, type TextModel } from "./text-model.ts";

/** What SDXL has besides. */
export interface SecondEncoderPart {
  readonly parameters: Parameters;
  /** Both encoders as one, given the first and the second one's parameters. */
  readonly join: (first: TextEncoderPart, parameters: Parameters) => TextModel;
  /** Reads prompts as the first one does, but pads with `!`, which it therefore cuts out of texts as a token of its own. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Without a negative prompt an encoding of zeros is steered away from (`force_zeros_for_empty_prompt`). */
  readonly zerosForNoPrompt: boolean;
}

/** Everything a Stable Diffusion model is, opened and ready to be recorded. */
export interface ModelParts {
  readonly device: Device;
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly textEncoder: TextEncoderPart;
  /** Of SDXL. */
  readonly second?: SecondEncoderPart | undefined;
  readonly unet: { readonly config: UNetConfig; readonly parameters: Parameters };
  readonly vae: { readonly config: VaeConfig; readonly parameters: Parameters };
  /** The model's scheduler_config.json. */
  readonly scheduler: SchedulerJson;
}

/** A model's parts as they are recorded on graphs, and the programs made of those; channels-last. */
export class RecordedModel {
  private readonly programs: ProgramCache;
  private readonly kept = new Map<string, { destroy(): void }>();
  /** How prompts are read. */
  readonly text: TextModel;
  /** Products of the noise schedule, by timestep. */
  readonly alphasCumprod: Float32Array;
  /** What the UNet was trained to predict. */
  readonly predictionType: PredictionType;

  constructor(readonly parts: ModelParts) {
    const { textEncoder, second, unet: noise, vae } = parts;
    const stores = [textEncoder.parameters, ...(second ? [second.parameters] : []), noise.parameters, vae.parameters];
    this.programs = new ProgramCache(parts.device, stores);
    this.text = second ? second.join(textEncoder, second.parameters) : new OneEncoder(textEncoder);
    const schedule = parseSchedulerConfig("ddim", noiseScheduleOnly(parts.scheduler));
    this.alphasCumprod = alphasCumprod(schedule);
    this.predictionType = schedule.predictionType;
  }

  get device(): Device {
    return this.parts.device;
  }

  get tokenizer(): Tokenizer {
    return this.parts.tokenizer;
  }

  /** Whether it is a Stable Diffusion XL: two text encoders, and a UNet that is told of sizes. */
  get isXl(): boolean {
    return this.parts.second !== undefined;
  }

  /** Latent height and width of an image's. @throws RangeError unless both are multiples of the VAE's factor. */
  latentSize(height: number, width: number): [number, number] {
    const { factor } = this.parts.vae.config;
    if (height % factor !== 0 || width % factor !== 0 || height < factor || width < factor) {
      throw new RangeError(`image size ${width}x${height} must be a multiple of ${factor}`);
    }
    return [height / factor, width / factor];
  }

  /** The model's own latent size: what its configuration calls the sample size. */
  get defaultLatentSize(): [number, number] {
    const { sampleSize } = this.parts.unet.config;
    return [sampleSize, sampleSize];
  }

  /** Something with device memory that is made once for its key and destroyed with the model. */
  keep<T extends { destroy(): void }>(key: string, make: () => T): T {
    let made = this.kept.get(key);
    if (!made) this.kept.set(key, (made = make()));
    return made as T;
  }

  /** Whether gradients compute again what they could keep in memory (see ProgramCache); of programs made from now on. */
  set recomputes(always: boolean) {
    this.programs.recomputes = always;
  }

  get recomputes(): boolean {
    return this.programs.recomputes;
  }

  /**
   * Which leaves of weights are kept on the device when they are loaded, by name and bytes; the others stay in host memory. To be said
   * before any is loaded. Default: all
   * @param plan `planStreams`, which other models need not load
   */
  keepOnDevice(keeps: (leaf: string, bytes: number) => boolean, plan: typeof planStreams): void {
    this.programs.planStreams = plan;
    const { textEncoder, second, unet: noise, vae } = this.parts;
    for (const part of [textEncoder, noise, vae, ...(second ? [second] : [])]) part.parameters.keepOnDevice(keeps);
  }

  /** What `keepOnDevice` was given last: there where weights may stay in host memory. */
  get planStreams(): typeof planStreams | undefined {
    return this.programs.planStreams;
  }

  set planStreams(plan: typeof planStreams | undefined) {
    this.programs.planStreams = plan;
  }

  /** A program made once for its key; the weights it needs are uploaded first. @throws as ProgramCache.get */
  program(key: string, record: Recording, stores: readonly LeafStore[] = []): Promise<Program> {
    return this.programs.get(key, record, stores);
  }

  /** Token embeddings [B, T, tokenWidth] of framed prompts u32 [B, T] on a graph. */
  recordEmbeddings(g: Graph, ids: Value): Value {
    return this.text.embeddings(g, ids);
  }

  /** Text encoding of token embeddings on a graph. @param ids the framed prompts, which SDXL needs */
  recordTextEncoder(g: Graph, embeddings: Value, ids?: Value): Value {
    return this.text.encode(g, embeddings, ids);
  }

  /** Text encoding of framed prompts u32 [B, T] on a graph. */
  recordPrompts(g: Graph, ids: Value): Value {
    return this.text.encode(g, this.text.embeddings(g, ids), ids);
  }

  /** Shape of the text encoding of `batch` prompts of so many tokens. */
  encodingShape(batch: number, tokens: number): [number, number, number] {
    return [batch, this.text.encodingRows(tokens), this.parts.unet.config.crossAttentionDim];
  }

  /** What the UNet takes of a text encoding [B, T, D], the same for all steps: see `textProducts`. */
  recordTextProducts(g: Graph, context: Value): Value[] {
    const { config, parameters } = this.parts.unet;
    return textProducts(new Layers(g, parameters), config, context);
  }

  /**
   * Where `gradients` brings cotangents near 1 on their way through UNet and text encoder: nowhere in f32. With operands in f16 at the
   * prediction, whose gradient of a mean over a whole picture is some 1e-4 and falls to 1e-8 on the way; and again at the text encoder's
   * result, from where it grows a thousandfold.
   */
  rescaleAt(prediction: Value, context: Value): readonly Value[] {
    return this.device.halfPrecision ? [prediction, context] : [];
  }

  /** The UNet on a graph, channels-last. @param context text encoding or its products @param fused see Layers */
  recordUNet(g: Graph, sample: Value, features: Value, context: Value | readonly Value[], fused = true): Value {
    const { config, parameters } = this.parts.unet;
    return unet(new Layers(g, parameters, fused), config, sample, features, context);
  }

  recordDecoder(g: Graph, latents: Value): Value {
    const { config, parameters } = this.parts.vae;
    return this.exactly(g, () => vaeDecode(new Layers(g, parameters), config, latents, parameters.maxTensorBytes));
  }

  recordEncoder(g: Graph, image: Value): { mean: Value; logvar: Value } {
    const { config, parameters } = this.parts.vae;
    return this.exactly(g, () => vaeEncode(new Layers(g, parameters), config, image, parameters.maxTensorBytes));
  }

  /** SDXL's VAE has numbers beyond float16's range (`force_upcast`). */
  private exactly<T>(g: Graph, body: () => T): T {
    return this.isXl && this.parts.vae.config.forceUpcast ? g.precise(body) : body();
  }

  /**
   * What the UNet is given for timesteps, one per batch row.
   * @param sizes SDXL: what each row, or all of them, is told of the picture's size. Default: the model's own size, not cropped
   */
  timestepFeatures(timesteps: readonly number[], sizes?: SizeConditions | readonly SizeConditions[]): Float32Array<ArrayBuffer> {
    const own = sizes ?? this.sizesOf(...this.defaultLatentSize);
    const each = timesteps.map((_, i) => sizeNumbers("original" in own ? own : own[i]!));
    return timestepFeatures(this.parts.unet.config, timesteps, each);
  }

  /** The size conditions of a picture of this latent height and width, not cropped. */
  sizesOf(height: number, width: number): SizeConditions {
    // A UNet without additions reads none of it, also where there is no VAE to ask.
    const factor = this.parts.unet.config.addition ? this.parts.vae.config.factor : 1;
    return ownSize(height * factor, width * factor);
  }

  /** Width of the timestep features. */
  get featureWidth(): number {
    return featureWidth(this.parts.unet.config);
  }

  /** Frees programs and weights; the device stays. */
  async destroy(): Promise<void> {
    await this.programs.destroy();
    for (const thing of this.kept.values()) thing.destroy();
    this.kept.clear();
  }
}
