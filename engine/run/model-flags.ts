import type { PredictionType } from "../loading/names/infer.ts";

/** The flags that say which model. Those absent may be null, as run.json keeps them. */
export interface ModelOptions {
  readonly model: string;
  readonly unet?: string | null;
  readonly textEncoder?: string | null;
  /** FILE[:STRENGTH], several separated by commas. */
  readonly lora?: string | null;
  readonly ema?: boolean | null;
  readonly predictionType?: PredictionType | null;
  readonly config?: string | null;
}

/** What is laid over a model or read with it, for records: every flag but --model that was given. */
export type ModelFlags = Omit<ModelOptions, "model">;

/** The files of --lora, with their strengths. */
export function parseLora(text: string): { readonly file: string; readonly strength: number }[] {
  return text.split(",").map((part) => {
    const [, file, strength] = /^(.*?)(?::(-?(?:\d+\.?\d*|\.\d+)))?$/.exec(part.trim())!;
    return { file: file!, strength: strength === undefined ? 1 : Number(strength) };
  });
}

/** The flags that were given, but --model. */
export function givenModelFlags({ unet, textEncoder, lora, ema, predictionType, config }: ModelOptions): ModelFlags {
  return Object.fromEntries(Object.entries({ unet, textEncoder, lora, ema, predictionType, config }).filter(([, value]) => value !== undefined && value !== null && value !== false));
}
