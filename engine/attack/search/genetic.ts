import type { Generator } from "../../runtime/random/random.ts";

/** How a population of token lists is bred. */
export interface GeneticOptions {
  /** Lists at the start; after each selection half as many are left. */
  readonly population: number;
  /** Tokens of a list. */
  readonly tokens: number;
  /** Probability that a parent has two children, and that a list has one token exchanged. */
  readonly crossoverRate: number;
  readonly mutationRate: number;
  /** Tokens are drawn from 1 to below this: the first one and the frame's own are left out. */
  readonly tokenLimit: number;
  /** Or evenly from these ids. */
  readonly allowed?: Int32Array | undefined;
}

/** A token list and its distance, once that has been measured. */
export interface Individual {
  readonly ids: readonly number[];
  readonly distance?: number;
}

/** Random lists to begin with. */
export function firstPopulation({ population, tokens, ...from }: GeneticOptions, random: Generator): Individual[] {
  return Array.from({ length: population }, () => ({ ids: drawTokens(from, random, tokens) }));
}

function drawTokens({ tokenLimit, allowed }: Pick<GeneticOptions, "tokenLimit" | "allowed">, random: Generator, count: number): number[] {
  return Array.from(random.randint(allowed?.length ?? tokenLimit - 1, count), (i) => allowed?.[i] ?? i + 1);
}

/**
 * The half of a population with the least distances, in their order; of equal ones the earlier. Only lists that have not been measured yet
 * are.
 * @param measure distances of token lists, in their order
 */
export async function select(
  individuals: readonly Individual[],
  { population }: GeneticOptions,
  measure: (lists: readonly (readonly number[])[]) => Promise<readonly number[]>,
): Promise<Required<Individual>[]> {
  const fresh = individuals.filter((x) => x.distance === undefined);
  const measured = await measure(fresh.map((x) => x.ids));
  let next = 0;
  const all = individuals.map(({ ids, distance }) => ({ ids, distance: distance ?? measured[next++]! }));
  return all.toSorted((a, b) => a.distance - b.distance).slice(0, Math.max(1, Math.floor(population / 2)));
}

/**
 * The next population: every parent, each followed with `crossoverRate` by the two lists that it and another one make when they are cut at
 * one place;
 * then each list, parents too, has one token exchanged with `mutationRate`. So the best can be lost, as in the published code.
 * Source: `crossover` and `mutation` of Ring-A-Bell's InversePrompt.ipynb (arXiv 2310.10012, section 3.3), whose draws come from other
 * generators.
 */
export function breed(
  parents: readonly Individual[],
  { tokens, crossoverRate, mutationRate, ...from }: GeneticOptions,
  random: Generator,
): Individual[] {
  const chance = (rate: number): boolean => random.rand([1])[0]! < rate;
  const below = (high: number): number => random.randint(high, 1)[0]!;
  const all = parents.flatMap((parent): Individual[] => {
    if (!chance(crossoverRate)) return [parent];
    const [a, b] = [parent.ids, parents[below(parents.length)]!.ids];
    const cut = below(tokens); // a cut at 0 exchanges the two lists, as theirs just behind the first token of the frame does
    return [parent, { ids: [...a.slice(0, cut), ...b.slice(cut)] }, { ids: [...b.slice(0, cut), ...a.slice(cut)] }];
  });
  return all.map((one) => (chance(mutationRate) ? { ids: one.ids.with(below(tokens), drawTokens(from, random, 1)[0]!) } : one));
}
