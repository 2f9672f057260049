import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import { tensorToImages } from "../../engine/formats/picture/image.ts";
import { generate, generateSettings } from "../../engine/diffusion/generate.ts";
import { pngTexts } from "../../engine/run/text/png-texts.ts";
import type { DrawRequest, Drawn } from "../protocol.ts";
import { bitmapOf } from "./bitmap.ts";
import type { Job } from "./job.ts";
import type { Session } from "./session.ts";

/** A preview may take this share of the time that a step takes. */
const PREVIEW_SHARE = 0.5;

/** Draws a picture, telling of each step and showing what it looks like so far. @throws what `generate` throws */
export async function draw(session: Session, request: DrawRequest, job: Job<"draw">): Promise<Drawn> {
  const { choice, preview, sld, safree, negativePrompt, ...rest } = request;
  job.news({ type: "progress", text: "loading the model" });
  const model = await session.model(choice);
  // An empty field is not a negative prompt, which SDXL tells from an empty one.
  const defences = { sld: sld ?? undefined, safree: safree ?? undefined };
  const options = { ...rest, ...defences, negativePrompt: negativePrompt || undefined, signal: job.signal };
  const settings = generateSettings(model, options);
  const started = performance.now();
  let stepSince = started;
  let skip = 0;
  const [drawn] = await generate(model, {
    ...options,
    async onStep(done, total, latents) {
      job.news({ type: "step", done, total });
      await job.unpaused();
      if (!preview || done === total || --skip > 0) return;
      const before = performance.now();
      const { data, shape } = await model.decodeLatents(await latents());
      job.news({ type: "preview", picture: bitmapOf(tensorToImages(data, shape)[0]!) });
      const now = performance.now();
      // The first one includes making the decoder's program.
      if (done > 1) skip = Math.round((now - before) / Math.max(1, before - stepSince) / PREVIEW_SHARE);
      stepSince = now;
    },
  });
  const { description: adapter, usage } = model.device;
  const texts = pngTexts(settings, request.seed, {
    model: choice.model,
    ...(choice.overlay !== null && { overlay: choice.overlay }),
    weights: choice.weights,
    adapter,
  });
  const { image } = drawn!;
  return {
    picture: bitmapOf(image),
    png: new Blob([encodePng(image, { ...texts })], { type: "image/png" }),
    seconds: (performance.now() - started) / 1000,
    peakBytes: usage.peakBytes,
    scheduler: settings.scheduler,
  };
}
