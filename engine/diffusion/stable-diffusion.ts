import type { Value } from "../../kernels/kernel.ts";
import { l1Loss, mseLoss } from "../../kernels/loss.ts";
import { type NDArray, expectShape, fromChannelsLast, toChannelsLast } from "../nn/array.ts";
import { gradients } from "../runtime/autodiff.ts";
import { requireFinite } from "./finite.ts";
import { type ModelParts, RecordedModel } from "./model/recorded-model.ts";
import type { SizeConditions } from "./model/sizes.ts";
import { type IdArray, type TokenLists, idArray } from "./model/token-lists.ts";
import { addNoise, getVelocity } from "./schedulers/index.ts";

export type LossKind = "mse" | "l1";

/** An eraser whose strength depends on the prompt: the UNet's weights are set for each prompt before it is drawn. */
export interface Transport {
  /** What it was made to erase. */
  readonly erased: readonly string[];
  /** Sets the UNet's weights for a prompt. @returns how well it matches what is erased */
  to(model: StableDiffusion, prompt: string): Promise<number>;
}

export interface StableDiffusionParts extends ModelParts {
  /** Of a UNet whose weights follow the prompt. */
  readonly transport?: Transport | undefined;
}

/**
 * A loaded Stable Diffusion 1.x, 2.x or XL, asked with arrays. Arrays are NCHW; latents are scaled by the VAE's factor, as the UNet sees
 * them. A text encoding is [B, T, D], of SDXL with one row more (see `TwoEncoders`).
 * Programs are made for each shape when first asked for and kept.
 */
export class StableDiffusion extends RecordedModel {
  constructor(override readonly parts: StableDiffusionParts) {
    super(parts);
  }

  /**
   * Text encoding [B, rows, D] of framed token ids, one list or several of one length.
   * @param second other ids for SDXL's second encoder, as many lists of the same length. Default: the same
   * @throws RangeError for an id outside the vocabulary or lists of different lengths.
   */
  async encodeText(ids: TokenLists, second?: TokenLists): Promise<NDArray> {
    const lists = [ids, ...(second ? [second] : [])].map((given) => idArray(given, this.text.vocabularySize));
    const [{ batch, length }] = lists as [IdArray];
    if (lists.some((list) => list.batch !== batch || list.length !== length)) {
      throw new RangeError("encodeText: the second encoder's prompts must be as many and as long as the first's");
    }
    const names = ["ids", "second ids"].slice(0, lists.length);
    const program = await this.program(`encodeText ${names.length > 1 ? "two " : ""}${batch}x${length}`, (g) => {
      g.storesHalves = false; // every step of a sampler reads it
      const [own, other = own!] = names.map((name): Value => g.input(name, { shape: [batch, length], dtype: "u32" }));
      return { outputs: { hidden: this.text.encode(g, this.text.embeddings(g, own!, other), other) } };
    });
    const hidden = await program.computeFloats(Object.fromEntries(names.map((name, i) => [name, lists[i]!.ids])), "hidden");
    requireFinite(this.device, "an element of the text encoding", hidden);
    return { data: hidden, shape: this.encodingShape(batch, length) };
  }

  /**
   * Text encoding [1, rows, D] of a prompt, each encoder's ids by its own tokenizer.
   * @param second another prompt for SDXL's second encoder. Default: the same
   */
  encodePrompt(prompt: string, second = prompt): Promise<NDArray> {
    const { tokenizer } = this.parts.second ?? {};
    return this.encodeText(this.tokenizer.encode(prompt), this.isXl ? (tokenizer ?? this.tokenizer).encode(second) : undefined);
  }

  /** The encoding [1, rows, D] of a prompt that was not given: zeros where SDXL says so, else that of the empty prompt. */
  async encodeNoPrompt(): Promise<NDArray> {
    if (!this.parts.second?.zerosForNoPrompt) return this.encodePrompt("");
    const shape = this.encodingShape(1, this.tokenizer.maxLength);
    return { data: new Float32Array(shape[1] * shape[2]), shape };
  }

  /**
   * The UNet's output for latents [B, C, h, w], one timestep or one per row (may be fractional), and context [B, rows, D].
   * @param sizes SDXL: of all rows, or one each. Default: those of the latents
   * @throws ShapeError on sizes that do not fit.
   */
  async predictNoise(
    latents: NDArray,
    timestep: number | readonly number[],
    context: NDArray,
    sizes?: SizeConditions | readonly SizeConditions[],
  ): Promise<NDArray> {
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
    const features = this.timestepFeatures(timesteps, sizes ?? this.sizesOf(height, width));
    const inputs = { sample: toChannelsLast(latents), features, context: context.data };
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
   * gradient for the token embeddings [1, T, tokenWidth] (before positions are added).
   * Give ids, or embeddings (SDXL: with the ids, by which the prompt's end is found).
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
    const hidden = this.text.tokenWidth;
    const length = options.ids?.length ?? options.embeddings?.shape[1];
    if (length === undefined) throw new RangeError("noiseLoss: give ids or embeddings");
    const source = `${options.ids ? "ids" : ""} ${options.embeddings ? "embeddings" : ""}`;
    const program = await this.program(`noiseLoss ${source} ${height}x${width} ${length} ${loss}`, (g) => {
      const ids = options.ids && g.input("ids", { shape: [1, length], dtype: "u32" });
      const embeddings = options.embeddings
        ? g.input("embeddings", { shape: [1, length, hidden], dtype: "f32" })
        : this.recordEmbeddings(g, ids!);
      const noised = g.input("noised", { shape: [1, height, width, inChannels], dtype: "f32" });
      const target = g.input("target", noised.type);
      const features = g.input("features", { shape: [1, this.featureWidth], dtype: "f32" });
      const context = this.recordTextEncoder(g, embeddings, ids);
      const prediction = this.recordUNet(g, noised, features, context);
      const objective = (loss === "mse" ? mseLoss : l1Loss)(g, prediction, target);
      const [gradient] = gradients(g, objective, [embeddings], undefined, this.rescaleAt(prediction, context));
      return { outputs: { loss: objective, prediction, gradient: gradient! } };
    });
    const { noised, target } = this.addNoise(latents, noise, timestep);
    const read = await program.compute({
      noised: toChannelsLast(noised),
      target: toChannelsLast(target),
      features: this.timestepFeatures([timestep], this.sizesOf(height, width)),
      ...(options.ids && program.hasInput("ids") && { ids: Uint32Array.from(options.ids) }),
      ...(options.embeddings && { embeddings: expectShape("noiseLoss embeddings", options.embeddings, [1, length, hidden]).data }),
    });
    for (const [name, data] of Object.entries(read)) requireFinite(this.device, `an element of the ${name}`, data);
    return {
      loss: read["loss"]![0]!,
      prediction: fromChannelsLast(read["prediction"] as Float32Array<ArrayBuffer>, [1, height, width, this.parts.unet.config.outChannels]),
      gradient: { data: read["gradient"] as Float32Array<ArrayBuffer>, shape: [1, length, hidden] },
    };
  }

  /**
   * Noised latents at a whole timestep and what the model should predict for them: the noise, or the velocity of a v-prediction model.
   * @param table noise levels; default: `alphasCumprod` @throws RangeError for a timestep outside the table
   */
  addNoise(
    latents: NDArray,
    noise: NDArray,
    timestep: number,
    table: Float32Array | Float64Array = this.alphasCumprod,
  ): { noised: NDArray; target: NDArray } {
    if (!Number.isInteger(timestep) || timestep < 0 || timestep >= table.length) {
      throw new RangeError(`timestep ${timestep} must be a whole number from 0 to ${table.length - 1}`);
    }
    const like = (data: Float32Array): NDArray => ({ data: data as Float32Array<ArrayBuffer>, shape: latents.shape });
    return {
      noised: like(addNoise(table, latents.data, noise.data, timestep)),
      target: this.predictionType === "v_prediction" ? like(getVelocity(table, latents.data, noise.data, timestep)) : noise,
    };
  }
}
