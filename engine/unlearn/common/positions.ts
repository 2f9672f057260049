import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { Matrix64 } from "./matrix64.ts";

/** A text's encoding at all positions, [T, D], and where its last token stands (0, begin, of a blank one). */
export interface EncodedText {
  readonly positions: Matrix64;
  readonly last: number;
}

/** In float32 on the device, then float64. */
export async function encodedText(model: StableDiffusion, text: string): Promise<EncodedText> {
  const { data, shape } = await model.encodePrompt(text);
  const [length, width] = [model.tokenizer.maxLength, shape[2]!]; // SDXL's pooled row, which no attention sees, is left out
  return {
    positions: new Matrix64(length, width, Float64Array.from(data.subarray(0, length * width))),
    last: model.tokenizer.tokenize(text).length,
  };
}

/** Rows `start` to `start + count` - 1. */
export function rowsFrom({ data, columns }: Matrix64, start: number, count: number): Matrix64 {
  return new Matrix64(count, columns, data.slice(start * columns, (start + count) * columns));
}
