import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Value } from "../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../kernels/loss.ts";
import { gradients } from "../runtime/autodiff.ts";
import type { Device } from "../runtime/device.ts";
import type { Graph } from "../runtime/graph.ts";
import type { Program } from "../runtime/program.ts";
import { type NDArray, expectShape, fromChannelsLast, toChannelsLast } from "../nn/array.ts";
import { requireFinite } from "./finite.ts";
import { Layers } from "../nn/layers.ts";
import type { LeafStore } from "../nn/leaf-store.ts";
import type { Parameters } from "../nn/parameters.ts";
import { ProgramCache, type Recording } from "../nn/program-cache.ts";
import {
  type PredictionType,
  type SchedulerJson,
  addNoise,
  alphasCumprod,
  getVelocity,
  noiseScheduleOnly,
  parseSchedulerConfig,
} from "./schedulers/index.ts";
import { type TextEncoderConfig, textEncoder, tokenEmbeddings } from "./text-encoder.ts";
import type { UNetConfig } from "./unet-config.ts";
import { timestepFeatures, unet } from "./unet.ts";
import { textProducts } from "./unet-conditions.ts";
import { type VaeConfig, vaeDecode, vaeEncode } from "./vae.ts";

export type LossKind = "mse" | "l1";

/** An eraser whose strength depends on the prompt: the UNet's weights are set for each prompt before it is drawn. */
export interface Transport {
  /** What it was made to erase. */
  readonly erased: readonly string[];
  /** Sets the UNet's weights for a prompt. @returns how well it matches what is erased */
  to(model: StableDiffusion, prompt: string): Promise<number>;
}

/** Everything a Stable Diffusion model is, opened and ready to be recorded. */
export interface StableDiffusionParts {
  readonly device: Device;
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly textEncoder: { readonly config: TextEncoderConfig; readonly parameters: Parameters };
  readonly unet: { readonly config: UNetConfig; readonly parameters: Parameters };
  readonly vae: { readonly config: VaeConfig; readonly parameters: Parameters };
  /** Of a UNet whose weights follow the prompt. */
  readonly transport?: Transport | undefined;
  /** The model's scheduler_config.json. */
  readonly scheduler: SchedulerJson;
}

/**
 * A loaded Stable Diffusion 1.x or 2.x. Arrays are NCHW; latents are scaled by the VAE's factor, as the UNet sees them.
 * Programs are made for each shape when first asked for and kept.
 */
export class StableDiffusion {
  private readonly programs: ProgramCache;
  private readonly kept = new Map<string, { destroy(): void }>();
  /** Products of the noise schedule, by timestep. */
  readonly alphasCumprod: Float32Array;
  /** What the UNet was trained to predict. */
  readonly predictionType: PredictionType;

  constructor(readonly parts: StableDiffusionParts) {
    this.programs = new ProgramCache(parts.device, [parts.textEncoder.parameters, parts.unet.parameters, parts.vae.parameters]);
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

  /** A program made once for its key; the weights it needs are uploaded first. @throws as ProgramCache.get */
  program(key: string, record: Recording, stores: readonly LeafStore[] = []): Promise<Program> {
    return this.programs.get(key, record, stores);
  }

  /** Token embeddings [B, T, hidden] of ids [B, T] on a graph. */
  recordEmbeddings(g: Graph, ids: Value): Value {
    const { config, parameters } = this.parts.textEncoder;
    return tokenEmbeddings(new Layers(g, parameters), config, ids);
  }

  /** Text encoding of token embeddings on a graph. */
  recordTextEncoder(g: Graph, embeddings: Value): Value {
    const { config, parameters } = this.parts.textEncoder;
    return textEncoder(new Layers(g, parameters), config, embeddings);
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
    return vaeDecode(new Layers(g, parameters), config, latents, parameters.maxTensorBytes);
  }

  recordEncoder(g: Graph, image: Value): { mean: Value; logvar: Value } {
    const { config, parameters } = this.parts.vae;
    return vaeEncode(new Layers(g, parameters), config, image, parameters.maxTensorBytes);
  }

  /** What the UNet is given for timesteps, one per batch row. */
  timestepFeatures(timesteps: readonly number[]): Float32Array<ArrayBuffer> {
    return timestepFeatures(this.parts.unet.config, timesteps);
  }

  /** Width of the timestep features. */
  get featureWidth(): number {
    return this.parts.unet.config.blockOutChannels[0]!;
  }

  /**
   * Text encoding [B, T, hidden] of framed token ids, one list or several of one length.
   * @throws RangeError for an id outside the vocabulary or lists of different lengths.
   */
  async encodeText(ids: ArrayLike<number> | readonly ArrayLike<number>[]): Promise<NDArray> {
    const lists = (typeof ids[0] === "number" ? [ids] : ids) as readonly ArrayLike<number>[];
    const { vocabularySize, hiddenSize } = this.parts.textEncoder.config;
    const [batch, length] = [lists.length, lists[0]!.length];
    const flat = new Uint32Array(batch * length);
    lists.forEach((list, b) => {
      if (list.length !== length) throw new RangeError(`encodeText: prompt ${b} has ${list.length} tokens, the first ${length}`);
      for (let i = 0; i < length; i++) {
        const id = list[i]!;
        if (!Number.isInteger(id) || id < 0 || id >= vocabularySize) {
          throw new RangeError(`encodeText: token id ${id} at ${i} is outside the vocabulary of ${vocabularySize}`);
        }
        flat[b * length + i] = id;
      }
    });
    const program = await this.program(`encodeText ${batch}x${length}`, (g) => {
      const input = g.input("ids", { shape: [batch, length], dtype: "u32" });
      return { outputs: { hidden: this.recordTextEncoder(g, this.recordEmbeddings(g, input)) } };
    });
    const hidden = await program.computeFloats({ ids: flat }, "hidden");
    return { data: requireFinite(this.device, "an element of the text encoding", hidden), shape: [batch, length, hiddenSize] };
  }

  /**
   * The UNet's output for latents [B, C, h, w], one timestep or one per row (may be fractional), and context [B, T, D].
   * @throws ShapeError on sizes that do not fit.
   */
  async predictNoise(latents: NDArray, timestep: number | readonly number[], context: NDArray): Promise<NDArray> {
    const { inChannels, outChannels, crossAttentionDim } = this.parts.unet.config;
    expectShape("predictNoise latents", latents, [undefined, inChannels, undefined, undefined]);
    const [batch, , height, width] = latents.shape as [number, number, number, number];
    expectShape("predictNoise context", context, [batch, undefined, crossAttentionDim]);
    const timesteps = typeof timestep === "number" ? new Array<number>(batch).fill(timestep) : timestep;
    if (timesteps.length !== batch) throw new RangeError(`predictNoise: ${timesteps.length} timesteps for a batch of ${batch}`);
    const program = await this.program(`predictNoise ${batch}x${height}x${width} ${context.shape[1]}`, (g) => {
      const sample = g.input("sample", { shape: [batch, height, width, inChannels], dtype: "f32" });
      const features = g.input("features", { shape: [batch, this.featureWidth], dtype: "f32" });
      const ctx = g.input("context", { shape: context.shape, dtype: "f32" });
      return { outputs: { prediction: this.recordUNet(g, sample, features, ctx) } };
    });
    const inputs = { sample: toChannelsLast(latents), features: this.timestepFeatures(timesteps), context: context.data };
    const prediction = await program.computeFloats(inputs, "prediction");
    return fromChannelsLast(requireFinite(this.device, "an element of the predicted noise", prediction), [
      batch,
      height,
      width,
      outChannels,
    ]);
  }

  /** The mean of the VAE's latent distribution, scaled, [B, C, h, w], for images [B, 3, H, W] in [-1, 1]. @throws ShapeError */
  async encodeImage(image: NDArray): Promise<NDArray> {
    const { data, shape } = (await this.encodeMoments(image)).mean;
    const { scalingFactor } = this.parts.vae.config;
    return { data: data.map((x) => x * scalingFactor), shape };
  }

  /**
   * Mean and logarithm of the variance of the VAE's latent distribution, [B, C, h, w] each, not scaled, for images [B, 3, H, W] in [-1, 1].
   * @throws ShapeError
   */
  async encodeMoments(image: NDArray): Promise<{ mean: NDArray; logvar: NDArray }> {
    const { inChannels, latentChannels } = this.parts.vae.config;
    expectShape("encodeImage image", image, [undefined, inChannels, undefined, undefined]);
    const [batch, , height, width] = image.shape as [number, number, number, number];
    const [h, w] = this.latentSize(height, width);
    const program = await this.program(`encodeImage ${batch}x${height}x${width}`, (g) => {
      const { mean, logvar } = this.recordEncoder(g, g.input("image", { shape: [batch, height, width, inChannels], dtype: "f32" }));
      return { outputs: { mean, logvar } };
    });
    const read = (await program.compute({ image: toChannelsLast(image) })) as Record<"mean" | "logvar", Float32Array<ArrayBuffer>>;
    requireFinite(this.device, "an element of the encoded picture", read.mean);
    const nchw = (data: Float32Array<ArrayBuffer>): NDArray => fromChannelsLast(data, [batch, h, w, latentChannels]);
    return { mean: nchw(read.mean), logvar: nchw(read.logvar) };
  }

  /** Images [B, 3, H, W], about [-1, 1] (not clamped), from scaled latents [B, C, h, w]. @throws ShapeError */
  async decodeLatents(latents: NDArray): Promise<NDArray> {
    const { outChannels, latentChannels, scalingFactor, factor } = this.parts.vae.config;
    expectShape("decodeLatents latents", latents, [undefined, latentChannels, undefined, undefined]);
    const [batch, , h, w] = latents.shape as [number, number, number, number];
    const program = await this.program(`decodeLatents ${batch}x${h}x${w}`, (g) => {
      const z = g.input("latents", { shape: [batch, h, w, latentChannels], dtype: "f32" });
      return { outputs: { image: this.recordDecoder(g, z) } };
    });
    const image = await program.computeFloats({ latents: toChannelsLast(latents).map((x) => x / scalingFactor) }, "image");
    return fromChannelsLast(requireFinite(this.device, "an element of the decoded picture", image), [
      batch,
      h * factor,
      w * factor,
      outChannels,
    ]);
  }

  /**
   * The attack's objective: the loss between the model's prediction for noised latents at `timestep` and `noise`, and its
   * gradient for the token embeddings [1, T, hidden] (before positions are added).
   * Give `latents` clean: they are noised here. For a v-prediction model the target is the velocity, as in the golden references.
   */
  async noiseLoss(options: {
    latents: NDArray;
    noise: NDArray;
    timestep: number;
    ids?: ArrayLike<number>;
    embeddings?: NDArray;
    loss?: LossKind;
  }): Promise<{ loss: number; prediction: NDArray; gradient: NDArray }> {
    const { latents, noise, timestep, loss = "mse" } = options;
    const { inChannels } = this.parts.unet.config;
    expectShape("noiseLoss latents", latents, [1, inChannels, undefined, undefined]);
    expectShape("noiseLoss noise", noise, latents.shape);
    const [, , height, width] = latents.shape as [number, number, number, number];
    const hidden = this.parts.textEncoder.config.hiddenSize;
    const length = options.ids?.length ?? options.embeddings?.shape[1];
    if (length === undefined) throw new RangeError("noiseLoss: give ids or embeddings");
    const source = options.ids ? "ids" : "embeddings";
    const program = await this.program(`noiseLoss ${source} ${height}x${width} ${length} ${loss}`, (g) => {
      const embeddings = options.ids
        ? this.recordEmbeddings(g, g.input("ids", { shape: [1, length], dtype: "u32" }))
        : g.input("embeddings", { shape: [1, length, hidden], dtype: "f32" });
      const noised = g.input("noised", { shape: [1, height, width, inChannels], dtype: "f32" });
      const target = g.input("target", noised.type);
      const features = g.input("features", { shape: [1, this.featureWidth], dtype: "f32" });
      const context = this.recordTextEncoder(g, embeddings);
      const prediction = this.recordUNet(g, noised, features, context);
      const objective = (loss === "mse" ? mseLoss : l1Loss)(g, prediction, target);
      const [gradient] = gradients(g, objective, [embeddings], undefined, this.rescaleAt(prediction, context));
      return { outputs: { loss: objective, prediction, gradient: gradient! } };
    });
    const { noised, target } = this.addNoise(latents, noise, timestep);
    const read = await program.compute({
      noised: toChannelsLast(noised),
      target: toChannelsLast(target),
      features: this.timestepFeatures([timestep]),
      ...(options.ids
        ? { ids: Uint32Array.from(options.ids) }
        : { embeddings: expectShape("noiseLoss embeddings", options.embeddings!, [1, length, hidden]).data }),
    });
    for (const [name, data] of Object.entries(read)) requireFinite(this.device, `an element of the ${name}`, data);
    return {
      loss: read["loss"]![0]!,
      prediction: fromChannelsLast(read["prediction"] as Float32Array<ArrayBuffer>, [1, height, width, this.parts.unet.config.outChannels]),
      gradient: { data: read["gradient"] as Float32Array<ArrayBuffer>, shape: [1, length, hidden] },
    };
  }

  /** Noised latents at a whole timestep and what the model should predict for them: the noise, or the velocity of a v-prediction model. */
  addNoise(latents: NDArray, noise: NDArray, timestep: number): { noised: NDArray; target: NDArray } {
    const table = this.alphasCumprod;
    if (!Number.isInteger(timestep) || timestep < 0 || timestep >= table.length) {
      throw new RangeError(`timestep ${timestep} must be a whole number from 0 to ${table.length - 1}`);
    }
    const like = (data: Float32Array): NDArray => ({ data: data as Float32Array<ArrayBuffer>, shape: latents.shape });
    return {
      noised: like(addNoise(table, latents.data, noise.data, timestep)),
      target: this.predictionType === "v_prediction" ? like(getVelocity(table, latents.data, noise.data, timestep)) : noise,
    };
  }

  /** Frees programs and weights; the device stays. */
  async destroy(): Promise<void> {
    await this.programs.destroy();
    for (const thing of this.kept.values()) thing.destroy();
    this.kept.clear();
  }
}
