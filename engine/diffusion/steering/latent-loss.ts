import { concat } from "../../../kernels/concat.ts";
import { type Value, f32 } from "../../../kernels/kernel.ts";
import { linearCombination } from "../../../kernels/linear-combination.ts";
import { l1Loss, mseLoss } from "../../../kernels/loss.ts";
import { type NDArray, expectShape, fromChannelsLast, toChannelsLast } from "../../nn/array.ts";
import { gradients } from "../../runtime/autodiff.ts";
import { InputError } from "../../runtime/errors.ts";
import { requireFinite } from "../finite.ts";
import type { LossKind, StableDiffusion } from "../stable-diffusion.ts";

/** What a loss is differentiated for, besides the token embeddings. */
export type LatentSource = "latents" | "picture";

export interface LatentLossOptions {
  /** Clean latents [1, C, h, w], scaled as the UNet sees them; noised here. Either these or a picture. */
  readonly latents?: NDArray | undefined;
  /** [1, 3, H, W] in [-1, 1]; the mean of its latent distribution is taken. */
  readonly picture?: NDArray | undefined;
  /** Unit-normal, [1, C, h, w]. */
  readonly noise: NDArray;
  /** A whole timestep. */
  readonly timestep: number;
  /** Text encodings [B, T, D]: the latents are predicted under each, and the loss is the mean over all. */
  readonly context: NDArray;
  /** What the predictions are compared with, [B, C, h, w]. Default: the noise, or the velocity of a v-prediction model. */
  readonly target?: NDArray | undefined;
  /** Default "mse". */
  readonly loss?: LossKind | undefined;
}

export interface LatentLoss {
  readonly loss: number;
  /** [B, C, h, w] */
  readonly prediction: NDArray;
  /** Of the clean latents [1, C, h, w], or of the picture [1, 3, H, W]. */
  readonly gradient: NDArray;
}

/**
 * The loss of the predictions for sqrt(a) x + sqrt(1 - a) noise, and its gradient for x or for the picture that x is encoded from. One
 * program: with a memory limit that does not hold it, it is planned again with recompute regions.
 * @throws ShapeError; RangeError for a timestep outside the schedule; InputError for a picture so large that the encoder works in bands
 */
export async function latentLoss(model: StableDiffusion, options: LatentLossOptions): Promise<LatentLoss> {
  const { latents, picture, noise, timestep, context, target, loss = "mse" } = options;
  const { inChannels, outChannels, crossAttentionDim } = model.parts.unet.config;
  if ((latents === undefined) === (picture === undefined)) throw new RangeError("latentLoss: give either latents or a picture");
  expectShape("latentLoss noise", noise, [1, inChannels, undefined, undefined]);
  const [, , height, width] = noise.shape as [number, number, number, number];
  const { factor } = model.parts.vae.config;
  const [batch, length] = expectShape("latentLoss context", context, [undefined, undefined, crossAttentionDim]).shape as [number, number];
  if (latents) expectShape("latentLoss latents", latents, noise.shape);
  if (picture) expectShape("latentLoss picture", picture, [1, 3, height * factor, width * factor]);
  if (target) expectShape("latentLoss target", target, [batch, outChannels, height, width]);
  const cumulative = model.alphasCumprod[timestep];
  if (cumulative === undefined) {
    throw new RangeError(`timestep ${timestep} must be a whole number from 0 to ${model.alphasCumprod.length - 1}`);
  }
  const velocity = !target && model.predictionType === "v_prediction";
  const source: LatentSource = picture ? "picture" : "latents";
  const key = `latentLoss ${source} ${batch}x${height}x${width} ${length} ${loss}${target ? " target" : ""}`;
  const program = await model.program(key, (g) => {
    const wanted = g.input(source, f32(picture ? [1, height * factor, width * factor, 3] : [1, height, width, inChannels]));
    const drawn = g.input("noise", f32([1, height, width, inChannels]));
    const pair = (name: string, values: readonly Value[]): Value => linearCombination(g, g.input(name, f32([2])), values);
    let clean: Value = wanted;
    if (picture) {
      const { maxTensorBytes } = model.parts.vae.parameters;
      if (4 * height * width * factor * factor * model.parts.vae.config.blockOutChannels[0]! > maxTensorBytes) {
        throw new InputError("the picture is encoded in bands on this device, which have no gradient: take a smaller picture");
      }
      clean = linearCombination(g, g.input("scaling", f32([1])), [model.recordEncoder(g, wanted).mean]);
    }
    const noisedOnce = pair("noising", [clean, drawn]);
    const rows = repeat(noisedOnce, batch, (a, b) => concat(g, a, b, 0));
    const encoding = g.input("context", f32(context.shape));
    const prediction = model.recordUNet(g, rows, g.input("features", f32([batch, model.featureWidth])), encoding);
    const goal = target
      ? g.input("target", prediction.type)
      : repeat(velocity ? pair("velocity", [drawn, clean]) : drawn, batch, (a, b) => concat(g, a, b, 0));
    const objective = (loss === "mse" ? mseLoss : l1Loss)(g, prediction, goal);
    const [gradient] = gradients(g, objective, [wanted], undefined, model.rescaleAt(prediction, encoding));
    return { outputs: { loss: objective, prediction, gradient: gradient! } };
  });
  const [signal, sigma] = [Math.sqrt(cumulative), Math.sqrt(1 - cumulative)];
  const read = await program.compute({
    [source]: toChannelsLast((picture ?? latents)!),
    noise: toChannelsLast(noise),
    noising: Float32Array.of(signal, sigma),
    ...(picture && { scaling: Float32Array.of(model.parts.vae.config.scalingFactor) }),
    ...(velocity && { velocity: Float32Array.of(signal, -sigma) }),
    features: model.timestepFeatures(new Array<number>(batch).fill(timestep)),
    context: context.data,
    ...(target && { target: toChannelsLast(target) }),
  });
  for (const [name, data] of Object.entries(read)) requireFinite(model.device, `an element of the ${name}`, data);
  const nchw = (name: string, shape: readonly [number, number, number, number]): NDArray =>
    fromChannelsLast(read[name] as Float32Array<ArrayBuffer>, shape);
  return {
    loss: read["loss"]![0]!,
    prediction: nchw("prediction", [batch, height, width, outChannels]),
    gradient: nchw("gradient", picture ? [1, height * factor, width * factor, 3] : [1, height, width, inChannels]),
  };
}

/** One row `count` times. */
function repeat(row: Value, count: number, join: (a: Value, b: Value) => Value): Value {
  let rows = row;
  for (let i = 1; i < count; i++) rows = join(rows, row);
  return rows;
}
