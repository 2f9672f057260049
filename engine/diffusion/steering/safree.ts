/**
 * SAFREE (arXiv 2410.12761), a defence without training: token encodings that lie near a concept are moved out of its subspace. Written
 * from the paper's and the code's published facts; latent re-attention is not covered.
 */
import type { NDArray } from "../../nn/array.ts";

export interface SafreeOptions {
  /** A token is near the concept where its distance is at least 1 + alpha times the mean of the others'. */
  readonly alpha: number;
  /** Most steps that the moved encoding is used for, less one. */
  readonly upTo: number;
  /** Steepness and midpoint of the filter that chooses the number of steps. */
  readonly k: number;
  readonly midpoint: number;
}

export const SAFREE: SafreeOptions = { alpha: 0.01, upTo: 10, k: 2.5, midpoint: 5.333 };
/** Published for artists' styles. */
export const SAFREE_ARTIST: SafreeOptions = { ...SAFREE, k: 3.5, midpoint: 5.5 };

/** Encodings by row, each of the model's width. */
export type Encodings = readonly Float32Array[];

export interface SafreeEncoding {
  /** Projector onto the concepts' subspace, and onto that of the prompt with one token masked at a time, [D, D] each. */
  readonly concept: Float64Array;
  readonly masked: Float64Array;
  /** How far from the concepts the prompt is without each token. */
  readonly distances: readonly number[];
  /** `distances` over the mean of the others. */
  readonly ratios: readonly number[];
  readonly flagged: readonly boolean[];
  /** Every row moved, [T, D]. */
  readonly projected: Float32Array<ArrayBuffer>;
  /** The flagged rows moved, the others as they were, [T, D]. */
  readonly encoding: Float32Array<ArrayBuffer>;
  /** 1 - mean cosine of bos, tokens and the first eos with what they are moved to. */
  readonly beta: number;
  /** The moved encoding is used for steps 0 to this one. */
  readonly lastStep: number;
}

/**
 * @param encoding the prompt's, [1, T, D]
 * @param tokens how many tokens it has, without bos and eos
 * @param concepts pooled encodings of the concept's phrases: the encoder's row at the first eos
 * @param masked pooled encodings of the prompt with token i replaced by id 0 (which in CLIP is "!", so it is replaced, not removed)
 * @throws RangeError for a prompt without tokens
 */
export function safree(
  encoding: NDArray,
  tokens: number,
  concepts: Encodings,
  masked: Encodings,
  { alpha, upTo, k, midpoint }: SafreeOptions = SAFREE,
): SafreeEncoding {
  if (tokens === 0 || masked.length !== tokens) throw new RangeError(`SAFREE: ${tokens} tokens and ${masked.length} masked prompts`);
  const [, length, width] = encoding.shape as [number, number, number];
  const [concept, own] = [projector(concepts, width), projector(masked, width)];
  const outside = (x: ArrayLike<number>): Float64Array => {
    const inside = multiply(concept, x, width);
    return inside.map((v, i) => x[i]! - v);
  };
  const distances = masked.map((p) => Math.hypot(...outside(p)));
  const total = distances.reduce((a, b) => a + b, 0);
  const ratios = distances.map((d) => d / ((total - d) / Math.max(1, tokens - 1)));
  const flagged = ratios.map((r) => r >= 1 + alpha);
  const projected = new Float32Array(encoding.data.length);
  const moved = Float32Array.from(encoding.data);
  let cosines = 0;
  for (let t = 0; t < length; t++) {
    const row = encoding.data.subarray(t * width, (t + 1) * width);
    const out = outside(multiply(own, row, width));
    projected.set(out, t * width);
    if (flagged[t - 1]) moved.set(out, t * width);
    if (t <= tokens + 1) cosines += cosine(out, row);
  }
  const beta = 1 - cosines / (tokens + 2);
  return {
    concept, masked: own, distances, ratios, flagged, projected, encoding: moved, beta,
    lastStep: safreeLastStep(beta, { alpha, upTo, k, midpoint }),
  };
}

/** The last step that uses the moved encoding: round(upTo * sigmoid(2 k (10 beta - midpoint))). */
export function safreeLastStep(beta: number, { upTo, k, midpoint }: SafreeOptions): number {
  return Math.round(upTo / (1 + Math.exp(-2 * k * (10 * beta - midpoint))));
}

/**
 * Projector onto the span of vectors, [D, D] row-major: they are orthogonalised in float64 (modified Gram-Schmidt, twice), since masked
 * prompts are nearly parallel. A vector that lies in the others' span adds nothing, as with a pseudo-inverse.
 */
function projector(vectors: Encodings, width: number): Float64Array {
  const basis: Float64Array[] = [];
  for (const vector of vectors) {
    const v = Float64Array.from(vector);
    const before = Math.hypot(...v);
    for (let round = 0; round < 2; round++) {
      for (const b of basis) {
        const share = b.reduce((sum, x, i) => sum + x * v[i]!, 0);
        b.forEach((x, i) => (v[i] = v[i]! - share * x));
      }
    }
    const norm = Math.hypot(...v);
    // torch.pinverse drops singular values below 1e-15 of the largest; this is float32's own resolution of the encodings.
    if (norm > 1e-7 * before) basis.push(v.map((x) => x / norm));
  }
  const out = new Float64Array(width * width);
  for (const b of basis) {
    for (let i = 0; i < width; i++) for (let j = 0; j < width; j++) out[i * width + j] = out[i * width + j]! + b[i]! * b[j]!;
  }
  return out;
}

function multiply(matrix: Float64Array, x: ArrayLike<number>, width: number): Float64Array {
  return Float64Array.from({ length: width }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += matrix[i * width + j]! * x[j]!;
    return sum;
  });
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, normA, normB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    normA += a[i]! ** 2;
    normB += b[i]! ** 2;
  }
  return dot / Math.sqrt(normA * normB);
}
