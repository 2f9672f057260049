import { type NDArray, stackRows } from "../../nn/array.ts";
import type { StableDiffusion } from "../stable-diffusion.ts";
import type { Predict } from "./denoise.ts";

/** A text encoding and how strongly the prediction follows it. */
export interface WeightedPrompt {
  /** [1, T, D] */
  readonly context: NDArray;
  readonly weight: number;
}

/**
 * Composed predictions: e = e_empty + sum of weight * (e_i - e_empty), element by element in float32. One prompt of weight 7.5 is ordinary
 * guidance; a negative weight pushes away. The weights' sum is the effective guidance. Source: Liu et al., arXiv 2206.01714, eq. 12.
 * @param predictions for the empty prompt and then for each weighted one
 */
export function composePredictions(predictions: readonly Float32Array[], weights: readonly number[]): Float32Array<ArrayBuffer> {
  const [empty, ...others] = predictions as [Float32Array, ...Float32Array[]];
  const out = Float32Array.from(empty);
  others.forEach((e, k) => {
    const weight = weights[k]!;
    for (let i = 0; i < out.length; i++) out[i] = out[i]! + Math.fround(weight * Math.fround(e[i]! - empty[i]!));
  });
  return out;
}

/** Predictions under the empty prompt and the weighted ones, in one batch, composed. @throws as `StableDiffusion.predictNoise` */
export function composed(model: StableDiffusion, empty: NDArray, prompts: readonly WeightedPrompt[]): Predict {
  const contexts = stackRows([empty, ...prompts.map((p) => p.context)]);
  const weights = prompts.map((p) => p.weight);
  return async (sample, timestep) => {
    const rows = stackRows(Array.from({ length: prompts.length + 1 }, () => sample));
    const { data } = await model.predictNoise(rows, timestep, contexts);
    const size = sample.data.length;
    return composePredictions(Array.from({ length: prompts.length + 1 }, (_, i) => data.subarray(i * size, (i + 1) * size)), weights);
  };
}

/** Classifier-free guidance; with a scale of 1 or less the prompt alone, in one row. @throws as `StableDiffusion.predictNoise` */
export function guided(model: StableDiffusion, empty: NDArray, context: NDArray, scale: number): Predict {
  if (scale > 1) return composed(model, empty, [{ context, weight: scale }]);
  return async (sample, timestep) => (await model.predictNoise(sample, timestep, context)).data;
}
