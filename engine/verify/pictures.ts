import { tensorToImages } from "../formats/picture/image.ts";
import type { NDArray } from "../nn/array.ts";
import { Sampler } from "../diffusion/sampler.ts";
import type { SldParameters } from "../diffusion/guidance.ts";
import type { SamplerPlan } from "../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../diffusion/stable-diffusion.ts";
import { channelsLast } from "./layout.ts";

export interface SampleRequest {
  readonly ids: ArrayLike<number>;
  readonly negative: ArrayLike<number>;
  readonly safety?: ArrayLike<number> | undefined;
  readonly sld?: SldParameters | undefined;
  /** Unit-normal, [1, C, h, w]. */
  readonly noise: NDArray;
  readonly plan: SamplerPlan;
  readonly guidance: number;
}

/** A guided sample from given ids and noise: the latents after every step, scaled as the UNet sees them; all of them or only the last. */
export async function sampleLatents(model: StableDiffusion, request: SampleRequest, everyStep = false): Promise<NDArray[]> {
  const { ids, negative, safety, sld, noise, plan, guidance } = request;
  const [, , height, width] = noise.shape as [number, number, number, number];
  const sampler = Sampler.for(model, { batch: 1, height, width, length: ids.length, guidance, ...(sld && { sld }) });
  const steps: NDArray[] = [];
  const last = await sampler.run({
    context: await model.encodeText(ids),
    unconditional: await model.encodeText(negative),
    ...(safety && { safety: await model.encodeText(safety) }),
    noise,
    plan,
    drawNoise: () => {
      throw new Error("this scheduler draws fresh noise, which the reference does not hold");
    },
    onStep: async (_step, _steps, latents) => {
      if (everyStep) steps.push(await latents());
    },
  });
  return everyStep ? steps : [last];
}

/** Decoded pictures [N, 3, H, W] about [-1, 1] as diffusers hands them out: NHWC in [0, 1], and rounded to 8 bits. */
export function asPicture(decoded: NDArray): { image: Float32Array<ArrayBuffer>; uint8: number[] } {
  const image = channelsLast(decoded).data.map((v) => Math.min(1, Math.max(0, Math.fround(v / 2) + 0.5)));
  return { image, uint8: tensorToImages(decoded.data, decoded.shape).flatMap((picture) => [...picture.data]) };
}
