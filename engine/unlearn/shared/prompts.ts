import type { Tokenizer } from "../../../tokenizer/index.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { type NDArray, joined } from "../../nn/array.ts";

/** A prompt's tokens without begin, end and padding, however many there are. */
export function contentTokens(tokenizer: Tokenizer, prompt: string): readonly number[] {
  return tokenizer.tokenize(prompt);
}

/** Text encoding [1, T, D] of a prompt. */
export function encodePrompt(model: StableDiffusion, prompt: string): Promise<NDArray> {
  return model.encodePrompt(prompt);
}

/** Arrays of one shape but for the first dimension as one batch. */
export function stacked(arrays: readonly NDArray[]): NDArray {
  const rows = arrays.reduce((n, a) => n + a.shape[0]!, 0);
  return { data: joined(arrays.map((a) => a.data)), shape: [rows, ...arrays[0]!.shape.slice(1)] };
}
