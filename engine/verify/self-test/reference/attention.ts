import type { Array64 } from "../array64.ts";

export interface AttentionSettings {
  readonly heads: number;
  readonly causal?: boolean;
  readonly scale?: number;
}

interface Sizes {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly head: number;
  readonly scale: number;
}

/** Of q [B, Tq, heads * head] and k [B, Tk, heads * head]; the scale of the scores is 1 / sqrt(head) unless it is given. */
export function sizes(q: Array64, k: Array64, { heads, scale }: AttentionSettings): Sizes {
  const [batch, queries, channels] = q.shape as [number, number, number];
  const head = channels / heads;
  return { batch, queries, keys: k.shape[1]!, head, scale: scale ?? 1 / Math.sqrt(head) };
}

/** The product of `n` numbers of a from `i` with those of b from `j`. */
export function dot(a: Float64Array, i: number, b: Float64Array, j: number, n: number): number {
  let sum = 0;
  for (let c = 0; c < n; c++) sum += a[i + c]! * b[j + c]!;
  return sum;
}

/** Calls `body` for each row with the probabilities of its visible keys, the offsets of the row and its keys, and the row's logSumExp. */
export function eachRow(
  q: Array64,
  k: Array64,
  settings: AttentionSettings,
  body: (row: { p: number[]; at: number; keyAt: (j: number) => number; index: number; logSumExp: number }) => void,
): void {
  const { heads, causal } = settings;
  const { batch, queries, keys, head, scale } = sizes(q, k, settings);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const keyAt = (j: number): number => ((b * keys + j) * heads + h) * head;
      for (let i = 0; i < queries; i++) {
        const at = ((b * queries + i) * heads + h) * head;
        const visible = causal ? Math.min(keys, i + 1) : keys;
        const s = Array.from({ length: visible }, (_, j) => scale * dot(q.data, at, k.data, keyAt(j), head));
        const high = Math.max(...s);
        const total = s.reduce((sum, x) => sum + Math.exp(x - high), 0);
        body({
          p: s.map((x) => Math.exp(x - high) / total),
          at,
          keyAt,
          index: (b * heads + h) * queries + i,
          logSumExp: high + Math.log(total),
        });
      }
    }
  }
}

/** softmax(scale q k^T) v by the definition, and log(sum(exp(scores))) [B, heads, Tq]; q [B, Tq, heads * d], k, v [B, Tk, heads * d]. */
export function attentionReference(q: Array64, k: Array64, v: Array64, settings: AttentionSettings): [o: Array64, logSumExp: Array64] {
  const { batch, queries, head } = sizes(q, k, settings);
  const o = new Float64Array(q.data.length);
  const logSumExp = new Float64Array(batch * settings.heads * queries);
  eachRow(q, k, settings, (row) => {
    logSumExp[row.index] = row.logSumExp;
    row.p.forEach((p, j) => {
      for (let c = 0; c < head; c++) o[row.at + c]! += p * v.data[row.keyAt(j) + c]!;
    });
  });
  return [
    { shape: q.shape, data: o },
    { shape: [batch, settings.heads, queries], data: logSumExp },
  ];
}
