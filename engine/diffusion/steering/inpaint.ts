import type { NDArray } from "../../nn/array.ts";
import { InputError } from "../../runtime/errors.ts";
import { type SamplerPlan, noiseLevelAt } from "../schedulers/index.ts";

/** One byte a pixel, row by row; from 128 on it is painted anew. */
export interface Mask {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/**
 * A mask at the latents' size: latent (i, j) takes pixel (i * factor, j * factor), as torch's nearest neighbour. [h * w], 1 = painted anew.
 * @throws InputError for a mask with nothing to paint, or another number of pixels than its size says
 */
export function latentMask({ data, width, height }: Mask, factor: number): Float32Array<ArrayBuffer> {
  const [h, w] = [Math.floor(height / factor), Math.floor(width / factor)];
  if (data.length !== width * height) throw new InputError(`the mask has ${data.length} pixels, not ${width}x${height}`);
  const mask = new Float32Array(h * w);
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) mask[i * w + j] = data[i * factor * width + j * factor]! >= 127.5 ? 1 : 0;
  if (!mask.includes(1)) throw new InputError(`the mask has no area: none of its ${h * w} latents is white`);
  return mask;
}

/**
 * What keeps the picture outside a mask, after every step: the picture at the noise level of the next step, with the same noise each time;
 * after the last step the picture itself. Source: diffusers v0.21, pipeline_stable_diffusion_inpaint.py, with a UNet of 4 channels.
 * @param clean latents of the picture, [1, C, h, w]
 * @param noise unit-normal, which the run also starts from
 */
export function keepOutside(
  mask: Float32Array,
  clean: NDArray,
  noise: Float32Array,
  plan: SamplerPlan,
  alphas: Float32Array,
): (latents: Float32Array, step: number) => Float32Array {
  return (latents, step) => {
    const { signal, sigma } = noiseLevelAt(plan, alphas, step + 1);
    return latents.map((x, i) => {
      const m = mask[i % mask.length]!;
      return m * x + (1 - m) * (signal * clean.data[i]! + sigma * noise[i]!);
    });
  };
}
