import { sizesOf } from "./attention-plan.ts";
import { concat } from "./concat.ts";
import { type Recorder, type Value } from "./kernel.ts";
import { matmul } from "./matmul.ts";
import { slice } from "./slice.ts";
import { softmax } from "./softmax.ts";

/** Scores held at once (elements): 32 MiB, a quarter of the smallest binding WebGPU grants. */
const MAX_SCORES = 8 * 1024 * 1024;

export interface ComposedAttentionOptions {
  readonly heads: number;
  /** Factor on q k^T (1 / sqrt(d) by default). */
  readonly scale?: number;
  /** Scores held at once, in elements (2^23 by default): queries are taken in slices of as many rows as fit. */
  readonly maxScores?: number;
}

/**
 * Attention of q [B, Tq, heads * d] over k, v [B, Tk, heads * d] (f32) -> [B, Tq, heads * d] from matmul and softmax, for heads too large
 * for the flash kernels (the VAE's single head over 512 channels). Scores are stored, a slice of queries at a time.
 * @throws ShapeError if the shapes do not fit together or the channels do not split into the heads.
 */
export function composedAttention(
  g: Recorder,
  q: Value,
  k: Value,
  v: Value,
  { heads, scale, maxScores = MAX_SCORES }: ComposedAttentionOptions,
): Value {
  const { batch, queries, keys, head } = sizesOf({ q, k, v }, heads);
  const factor = scale ?? 1 / Math.sqrt(head);
  const rowsAtOnce = Math.max(1, Math.min(queries, Math.floor(maxScores / (batch * keys))));
  let out: Value | undefined;
  for (let h = 0; h < heads; h++) {
    const [qh, kh, vh] = [q, k, v].map((x) => slice(g, x, h * head, head)) as [Value, Value, Value];
    let headOut: Value | undefined;
    for (let row = 0; row < queries; row += rowsAtOnce) {
      const some = slice(g, qh, row, Math.min(rowsAtOnce, queries - row), 1);
      const part = matmul(g, softmax(g, matmul(g, some, kh, { transposeB: true, scale: factor })), vh);
      headOut = headOut ? concat(g, headOut, part, 1) : part;
    }
    out = out ? concat(g, out, headOut!) : headOut;
  }
  return out!;
}
