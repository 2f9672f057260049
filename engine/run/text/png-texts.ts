import type { GenerateSettings } from "../../diffusion/generate.ts";
import type { SchedulerName } from "../../diffusion/schedulers/index.ts";
import { VERSION } from "../version.ts";

/** Samplers by the names that the field's tools use in this text. */
const SAMPLERS: Readonly<Record<SchedulerName, string>> = {
  ddim: "DDIM",
  ddpm: "DDPM",
  lms: "LMS",
  pndm: "PLMS",
  euler: "Euler",
  "euler-ancestral": "Euler a",
  "dpm++2m": "DPM++ 2M",
};

/** What a generated PNG says of itself: keyword and text, for `encodePng`. */
export interface PngTexts extends Readonly<Record<string, string>> {
  /** The text that stable-diffusion-webui writes and many viewers read. */
  readonly parameters: string;
  /** The same and more as JSON. */
  readonly lethe: string;
}

/** @param extra further fields of the JSON: model, overlays, adapter */
export function pngTexts(
  settings: GenerateSettings,
  seed: number,
  extra: Readonly<Record<string, unknown>> & { readonly model: string },
): PngTexts {
  const fields: [string, string | number][] = [
    ["Steps", settings.steps],
    ["Sampler", SAMPLERS[settings.scheduler]],
    ["CFG scale", settings.guidance],
    ["Seed", seed],
    ["Size", `${settings.width}x${settings.height}`],
    ["Model", extra.model],
    ...(settings.safree ? ([["SAFREE", settings.safree]] as [string, string][]) : []),
    ...(settings.sld ? ([["SLD", settings.sld]] as [string, string][]) : []),
    ["Version", `lethe ${VERSION}`],
  ];
  const negative = !settings.negativePrompt ? [] : [`Negative prompt: ${settings.negativePrompt}`];
  return {
    parameters: [settings.prompt, ...negative, fields.map(([name, value]) => `${name}: ${value}`).join(", ")].join("\n"),
    lethe: JSON.stringify({ ...settings, seed, ...extra, version: VERSION }),
  };
}
