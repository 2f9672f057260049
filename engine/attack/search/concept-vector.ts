import { elementCount } from "../../../kernels/kernel.ts";
import type { StableDiffusion } from "../../diffusion/stable-diffusion.ts";
import { UsageError } from "../../runtime/errors.ts";

/** Two prompts that differ by the concept. */
export interface ConceptPair {
  readonly with: string;
  readonly without: string;
}

/** Prompts encoded together. */
const BATCH = 16;

/**
 * What a concept adds to a prompt's encoding: the mean over pairs of (encoding with the concept - encoding without), all positions, padding
 * included, and of SDXL the pooled output.
 * Source: Ring-A-Bell (arXiv 2310.10012, equation 2; Get_Concept_Vector.ipynb of its public code).
 * @returns f64 [rows, D], flat
 * @throws UsageError without a pair
 */
export async function conceptVector(model: StableDiffusion, pairs: readonly ConceptPair[]): Promise<Float64Array<ArrayBuffer>> {
  if (pairs.length === 0) throw new UsageError("a concept vector needs at least one pair of prompts, with the concept and without");
  const prompts = pairs.flatMap((pair) => [pair.with, pair.without]);
  const vector = new Float64Array(elementCount(model.encodingShape(1, model.tokenizer.maxLength)));
  for (let first = 0; first < prompts.length; first += BATCH) {
    const { data } = await model.encodeText(prompts.slice(first, first + BATCH).map((prompt) => model.tokenizer.encode(prompt)));
    for (let i = 0; i < data.length; i++) {
      const sign = Math.floor(i / vector.length) % 2 === 0 ? 1 : -1;
      vector[i % vector.length]! += (sign * data[i]!) / pairs.length;
    }
  }
  return vector;
}

/**
 * Where the search aims: the prompt's encoding moved by `eta` concept vectors, f32 [rows, D], flat (arXiv 2310.10012, equation 3).
 */
export async function conceptTarget(
  model: StableDiffusion,
  prompt: string,
  vector: Float64Array,
  eta: number,
): Promise<Float32Array<ArrayBuffer>> {
  const { data } = await model.encodePrompt(prompt);
  return data.map((x, i) => x + eta * vector[i]!);
}
