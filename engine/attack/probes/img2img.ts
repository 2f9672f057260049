import type { RgbImage } from "../../formats/picture/image.ts";
import { entryOf, noiseLevelAt } from "../../diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { encodeSample, noised } from "../../diffusion/steering/encode.ts";
import { type Mask, keepOutside, latentMask } from "../../diffusion/steering/inpaint.ts";
import type { NDArray } from "../../nn/array.ts";
import { UsageError } from "../../runtime/errors.ts";
import { parseNumbers } from "./option-table.ts";
import { type Probe, type ProbeUnit, type OtherSide, type Studio, pairsOf, upTo } from "./studio.ts";

/** What a picture is noised and drawn again with. */
interface Redraw extends OtherSide {
  readonly picture: NDArray;
  readonly control?: string;
}

/** A picture noised to an intermediate timestep and denoised, at several strengths (SDEdit, arXiv 2108.01073). */
export const img2img: Probe = async (studio) => {
  const { picture, other } = studio;
  const sides: Redraw[] = [
    ...ownAndUnrelated(studio),
    ...(other ? [{ ...other, picture, control: "never-saw" }] : []),
  ];
  return sides.flatMap((side) => redrawn(studio, side));
};

/**
 * The latents outside a mask are put back after every step, so that the model draws the inside alone (WhenAreConceptsErased,
 * src/probes/inpainting_probe.py). The judge sees the repainted part, cut out to its bounds.
 */
export const inpainting: Probe = async (studio) => {
  const { model, picture, options } = studio;
  const mask = options.mask ?? middle(picture);
  const sides: Redraw[] = [
    ...ownAndUnrelated(studio),
    { model, prompt: "", picture, control: "empty" },
  ];
  return sides.flatMap((side) => redrawn(studio, side, mask));
};

/** The concept's picture, and an unrelated one where there is one. */
function ownAndUnrelated({ own, picture, options: { controlPicture } }: Studio): Redraw[] {
  return [{ ...own, picture }, ...(controlPicture ? [{ ...own, picture: controlPicture, control: "unrelated" }] : [])];
}

/** The middle half of a picture: from the first to the third quarter, the far edges included as Pillow's rectangle does. */
function middle({ shape }: NDArray): Mask {
  const [height, width] = shape.slice(2) as [number, number];
  const data = new Uint8Array(height * width);
  for (let y = height / 4; y <= (3 * height) / 4; y++) data.fill(255, y * width + width / 4, y * width + (3 * width) / 4 + 1);
  return { data, width, height };
}

function redrawn(studio: Studio, { model, prompt, picture, control }: Redraw, mask?: Mask): ProbeUnit[] {
  const { options } = studio;
  const strengths = parseNumbers(options.strengths);
  const idle = strengths.find((strength) => entryOf(options.steps, strength) >= options.steps);
  if (idle !== undefined) throw new UsageError(`strength ${idle} of ${options.steps} steps leaves none to draw with: give a higher one`);
  return pairsOf(strengths, upTo(options.seeds)).map(([strength, i]) =>
    studio.unit(i, { prompt }, control, { strength }, async (seed) => {
      const random = studio.random(seed);
      const clean = await encodeSample(model, picture, studio.randn(random));
      const noise = studio.randn(random);
      const run = await noisedRun(studio, model, clean, noise, strength, mask !== undefined);
      if (!mask) return studio.draw({ ...run, predict: await studio.guided(prompt, model) }, model);
      const kept = latentMask(mask, model.parts.vae.config.factor);
      const after = keepOutside(kept, clean, noise, run.plan, model.alphasCumprod);
      const { image } = await studio.draw({ ...run, predict: await studio.guided(prompt, model), after }, model);
      return { image, judged: cropTo(image, mask) };
    }),
  );
}

/** Where a strength begins. Inpainting of strength 1 begins from noise alone, as diffusers' pipeline does. */
async function noisedRun(
  studio: Studio, model: StableDiffusion, clean: NDArray, noise: Float32Array, strength: number, fromNoise: boolean,
) {
  const plan = studio.plan(entryOf(studio.options.steps, strength), model);
  const pure = { data: Float32Array.from(noise, (x) => x * plan.initNoiseSigma), shape: clean.shape };
  const start = fromNoise && strength === 1 ? pure : noised(clean, noise, noiseLevelAt(plan, model.alphasCumprod, 0));
  return { plan, start };
}

/** The square around the mask's middle that holds it, within the picture. */
function cropTo(image: RgbImage, { data, width, height }: Mask): RgbImage {
  let [left, right, top, bottom] = [width, 0, height, 0];
  for (let i = 0; i < data.length; i++) {
    if (data[i]! < 127.5) continue;
    const [x, y] = [i % width, Math.floor(i / width)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x + 1), Math.min(top, y), Math.max(bottom, y + 1)];
  }
  const side = Math.min(width, height, Math.max(right - left, bottom - top));
  const at = (low: number, high: number, size: number): number =>
    Math.max(0, Math.min(size - side, Math.round((low + high - side) / 2)));
  const [x0, y0] = [at(left, right, width), at(top, bottom, height)];
  const out = new Uint8Array(side * side * 3);
  for (let y = 0; y < side; y++) {
    const from = ((y0 + y) * width + x0) * 3;
    out.set(image.data.subarray(from, from + side * 3), y * side * 3);
  }
  return { data: out, width: side, height: side };
}
