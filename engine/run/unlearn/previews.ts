import type { StableDiffusionPipeline } from "../../diffusion/pipeline.ts";
import { generateSettings } from "../../diffusion/generate.ts";
import type { RgbImage } from "../../formats/picture/image.ts";
import type { UnlearnRecord } from "./record.ts";
import { givenModelFlags } from "../settings/model-options.ts";
import { pngTexts } from "../text/png-texts.ts";
import type { PreviewLine } from "./log.ts";

/** A prompt that is drawn along the way. */
export interface PreviewPrompt {
  readonly prompt: string;
  /** Whether it names an erased concept. */
  readonly erased: boolean;
}

/** So many retained prompts are drawn where nothing else is said. */
const RETAINED_SHOWN = 3;

/** @param own prompts that were given for it; undefined: the concepts and the first retained prompts */
export function previewPrompts(
  concepts: readonly string[],
  retain: readonly string[],
  own: readonly string[] | undefined,
): PreviewPrompt[] {
  const prompts = own ?? [...concepts, ...retain.slice(0, RETAINED_SHOWN)];
  const names = (prompt: string): boolean => concepts.some((c) => prompt.toLowerCase().includes(c.trim().toLowerCase()));
  return [...new Set(prompts)].map((prompt) => ({ prompt, erased: names(prompt) }));
}

/** A preview with what its PNG says of itself. */
export interface DrawnPreview {
  readonly line: PreviewLine;
  readonly picture: RgbImage;
  readonly texts: Readonly<Record<string, string>>;
}

/** Draws every preview. @param step steps done so far @throws AbortError */
export async function drawPreviews(
  model: StableDiffusionPipeline,
  prompts: readonly PreviewPrompt[],
  step: number,
  { settings, device, out }: UnlearnRecord,
  signal: AbortSignal | undefined,
): Promise<DrawnPreview[]> {
  const { previewSteps: steps, previewGuidance: guidance, previewSeed: seed } = settings;
  const drawn: DrawnPreview[] = [];
  for (const [i, { prompt, erased }] of prompts.entries()) {
    const options = { prompt, steps, guidance, seed };
    const [made] = await model.generate({ ...options, signal });
    const extra = { model: settings.model, ...givenModelFlags(settings), erased: `${out}, step ${step}`, adapter: device.adapter };
    const image = `images/step${String(step).padStart(6, "0")}-${String(i).padStart(2, "0")}.png`;
    drawn.push({
      line: { step, prompt, erased, seed, image },
      picture: made!.image,
      texts: pngTexts(generateSettings(model, options), seed, extra),
    });
  }
  return drawn;
}
