import { type RgbImage, imagesToTensor } from "../../formats/picture/image.ts";
import { encodeSample } from "../../diffusion/steering/encode.ts";
import { invert } from "../../diffusion/steering/inversion.ts";
import { expectedLikelihood, negativeLogLikelihood, psnr } from "../../diffusion/steering/likelihood.ts";
import type { NDArray } from "../../nn/array.ts";
import type { Probe, ProbeUnit, OtherSide } from "./studio.ts";

/**
 * A picture of the concept carried back to noise and drawn again from it (Memories of Forgotten Concepts, arXiv 2412.00782): whether the
 * model can still draw it, from noise as likely as any, under its prompt. Inversion redraws any picture, so what counts is how it compares.
 */
export const ddimInversion: Probe = async (studio) => {
  const { model, own, prompt, picture, other, options } = studio;
  const unit = (side: OtherSide, of: NDArray, control?: string): ProbeUnit =>
    studio.unit(0, side, control, { inversion: options.inversion }, async (seed) => {
      const random = studio.random(seed);
      const form = options.inversion;
      const draw = studio.randn(random);
      const z0 = await encodeSample(side.model, of, form === "nti" ? undefined : draw);
      const plan = studio.ddim();
      const predict = await studio.guided(side.prompt, side.model, options.inversionGuidance);
      const inverted = await invert({
        form,
        latents: z0,
        predict,
        timesteps: plan.steps.map((s) => s.timestep),
        alphas: side.model.alphasCumprod,
        roll: (limit) => random.randint(limit, 1)[0]!,
        signal: options.signal,
      });
      const zT = inverted.at(-1)!;
      const { image } = await studio.draw({ plan, start: zT, predict }, side.model);
      const nll = negativeLogLikelihood(zT.data);
      const expected = expectedLikelihood(zT.data.length);
      return {
        image,
        figures: {
          nll,
          deviation: (nll - expected.mean) / expected.std,
          psnr: decibels(of, image),
          vaePsnr: decibels(of, await studio.decode(z0, side.model)),
        },
      };
    });
  return [
    unit(own, picture),
    ...(options.controlPicture ? [unit({ model, prompt: options.controlPrompt ?? prompt }, options.controlPicture, "ordinary")] : []),
    ...(other ? [unit(other, picture, "never-saw")] : []),
  ];
};

/** Of a picture [1, 3, H, W] in [-1, 1] and one of 8 bits; at most 100, so that equal pictures have a number. */
function decibels(of: NDArray, image: RgbImage): number {
  const unit = (x: NDArray): Float32Array => x.data.map((v) => v / 2 + 0.5);
  return Math.min(100, psnr(unit(of), unit(imagesToTensor([image]))));
}
