import type { NDArray } from "../../nn/array.ts";
import type { NoiseLevel } from "../schedulers/index.ts";
import type { StableDiffusion } from "../stable-diffusion.ts";

/** diffusers' DiagonalGaussianDistribution clamps the logarithm of the variance to this. */
const [LOG_VARIANCE_MIN, LOG_VARIANCE_MAX] = [-30, 20];

/** Of a picture's latent distribution, not scaled. */
export interface Moments {
  readonly mean: NDArray;
  readonly logvar: NDArray;
}

/**
 * A sample of the VAE's latent distribution, scaled as the UNet sees it: factor * (mean + std * draw), [1, C, h, w].
 * @param image [1, 3, H, W] in [-1, 1]
 * @param draw unit-normal numbers of the latents' shape, NCHW; without it the mean
 * @throws ShapeError
 */
export async function encodeSample(model: StableDiffusion, image: NDArray, draw?: Float32Array): Promise<NDArray> {
  return posteriorSample(await model.encodeMoments(image), draw, model.parts.vae.config.scalingFactor);
}

/** The same of moments as `encodeMoments` gives them, [1, C, h, w] each. */
export function posteriorSample({ mean, logvar }: Moments, draw: Float32Array | undefined, factor: number): NDArray {
  const std = (i: number): number => Math.exp(0.5 * Math.min(LOG_VARIANCE_MAX, Math.max(LOG_VARIANCE_MIN, logvar.data[i]!)));
  return { data: mean.data.map((m, i) => factor * (draw ? m + std(i) * draw[i]! : m)), shape: mean.shape };
}

/** signal * clean + sigma * noise. */
export function noised(clean: NDArray, noise: Float32Array, { signal, sigma }: NoiseLevel): NDArray {
  return { data: clean.data.map((x, i) => signal * x + sigma * noise[i]!), shape: clean.shape };
}
