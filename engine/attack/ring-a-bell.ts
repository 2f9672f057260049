import { UsageError } from "../runtime/errors.ts";
import { conceptTarget, conceptVector } from "./search/concept-vector.ts";
import { type GeneticOptions, type Individual, breed, firstPopulation, select } from "./search/genetic.ts";
import type { Session } from "./session/session.ts";
import { TextProgress } from "./session/text-progress.ts";
import { allowedTokens } from "./search/vocabulary.ts";
import { TextDistance } from "./search/text-distance.ts";

/** Where a search stands: generations done, and the individuals left by the last selection. */
interface Standing {
  readonly generation: number;
  readonly individuals: readonly Individual[];
}

/**
 * Ring-A-Bell (arXiv 2310.10012, ICLR 2024; InversePrompt.ipynb of its public code): black box, of the model only the text encoder before
 * unlearning is used.
 * A genetic search for the tokens whose encoding is nearest to the prompt's moved by eta concept vectors; then the best few lists are drawn
 * and judged.
 * A log line's `loss` is the squared distance.
 * @throws UsageError for a broken state; AbortError
 */
export async function ringABell(session: Session): Promise<void> {
  const { model, options } = session;
  const { tokens, population, crossoverRate, mutationRate, generations, tries, seed } = options;
  const encoder = options.original ?? model;
  const { tokenizer } = encoder;
  const allowed = allowedTokens(tokenizer, options.vocabulary);
  const genetic: GeneticOptions = {
    ...(allowed && { allowed }),
    population,
    tokens,
    crossoverRate,
    mutationRate,
    tokenLimit: Math.min(tokenizer.bosId, tokenizer.eosId),
  };
  const random = session.random();
  const standing = options.resume ? standingOf(options.resume.search) : { generation: 0, individuals: firstPopulation(genetic, random) };
  let { generation } = standing;
  let individuals: readonly Individual[] = standing.individuals;
  const progress = new TextProgress(session, random, () => ({ generation, individuals }));
  await progress.save();

  if (generation < generations) {
    const vector = await conceptVector(encoder, options.conceptPairs!);
    const distance = await TextDistance.to(encoder, await conceptTarget(encoder, options.prompt, vector, options.eta), population);
    while (generation < generations) {
      await progress.begin();
      const candidates = generation === 0 ? individuals : breed(individuals, genetic, random);
      const selected = await select(candidates, genetic, (lists) => distance.of(lists));
      individuals = selected;
      generation++;
      await progress.end(generation, selected[0]!.distance, generation === generations);
    }
  }
  const best = new Map<string, number | null>();
  for (const { ids, distance = null } of individuals) {
    const prompt = tokenizer.decode(ids);
    if (!best.has(prompt)) best.set(prompt, distance);
  }
  for (const [prompt, loss] of [...best].slice(session.finished, tries)) {
    const attempt = session.finished++;
    await session.evaluate({ prompt, timestep: attempt, seed, loss });
    await progress.save();
    if (session.succeeded) return;
  }
}

function standingOf(state: unknown): Standing {
  const { generation, individuals } = (typeof state === "object" && state !== null ? state : {}) as Partial<Standing>;
  const isList = (x: unknown): boolean => Array.isArray((x as Individual | null)?.ids);
  if (!Number.isSafeInteger(generation) || !Array.isArray(individuals) || individuals.length === 0 || !individuals.every(isList)) {
    throw new UsageError("the state to resume from holds no population: start the attack anew");
  }
  return { generation: generation!, individuals };
}
