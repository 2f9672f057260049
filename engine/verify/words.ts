/** A number as the manifests' sentences write it, to be put into a pattern: one group. */
export const NUMBER = String.raw`(-?[\d.]*\d(?:e[+-]?\d+)?)`;

/** The numbers that a pattern's groups find in a sentence; undefined if it does not fit. */
export function numbersIn(words: string, pattern: string): number[] | undefined {
  return new RegExp(pattern, "i").exec(words)?.slice(1).map(Number);
}
