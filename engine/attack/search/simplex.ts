import type { Generator } from "../../runtime/random/random.ts";

/**
 * A token that a slot may come to hold, and its share of the slot's probability, 0 to 1; of a slot that stands for its nearest token, that
 * one and 1.
 */
export interface SlotToken {
  readonly id: number;
  readonly share: number;
}

/** The point of the probability simplex nearest to `row`: max(row - mu, 0) with sum 1. Exact, by sorting (Held, Wolfe and Crowder 1974). */
export function projectRow(row: Float32Array): Float32Array<ArrayBuffer> {
  const sorted = Float64Array.from(row).toSorted().toReversed();
  let sum = 0;
  let mu = 0;
  for (let i = 0; i < sorted.length; i++) {
    sum += sorted[i]!;
    const candidate = (sum - 1) / (i + 1);
    if (sorted[i]! <= candidate) break;
    mu = candidate;
  }
  return Float32Array.from(row, (x) => Math.max(x - mu, 0));
}

/**
 * Rows to start the search from, [tokens, vocabulary]: every token alike, or, given a generator, uniform numbers projected onto the
 * simplex.
 * Source: `init_adv` of the reference's text_grad_.py (`rand_init`).
 * @param allowed ids of the tokens that may be chosen; the others have 0
 */
export function initialSimplex(
  tokens: number,
  vocabulary: number,
  random?: Generator,
  allowed?: ArrayLike<number>,
): Float32Array<ArrayBuffer> {
  const simplex = new Float32Array(tokens * vocabulary);
  const ids = allowed ?? Array.from({ length: vocabulary }, (_, id) => id);
  const draws = random?.rand([tokens, ids.length]);
  for (let j = 0; j < tokens; j++) {
    const row = draws ? projectRow(draws.subarray(j * ids.length, (j + 1) * ids.length)) : undefined;
    for (let i = 0; i < ids.length; i++) simplex[j * vocabulary + ids[i]!] = row ? row[i]! : 1 / ids.length;
  }
  return simplex;
}

/**
 * The `count` most probable tokens of each row of a simplex [tokens, vocabulary], the likeliest first; of equal ones the lowest id first.
 */
export function likeliest(simplex: Float32Array, vocabulary: number, count: number): SlotToken[][] {
  return Array.from({ length: simplex.length / vocabulary }, (_, j) => {
    const row = simplex.subarray(j * vocabulary, (j + 1) * vocabulary);
    const best: number[] = [];
    for (let id = 0; id < vocabulary; id++) {
      if (best.length === count && row[id]! <= row[best.at(-1)!]!) continue;
      best.push(id);
      best.sort((a, b) => row[b]! - row[a]! || a - b);
      best.length = Math.min(best.length, count);
    }
    return best.map((id) => ({ id, share: row[id]! }));
  });
}
