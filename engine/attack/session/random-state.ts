import { UsageError } from "../../runtime/errors.ts";
import { Generator } from "../../runtime/random/random.ts";

/** The states of generators as JSON: of one its own, of several a list. */
export function saveRandoms(randoms: readonly Generator[]): unknown {
  return randoms.length === 1 ? saveRandom(randoms[0]!) : randoms.map(saveRandom);
}

/** The generators of `saveRandoms`. @throws UsageError unless there are `count` of them */
export function restoreRandoms(state: unknown, count: number): Generator[] {
  const states: readonly unknown[] = Array.isArray(state) ? state : [state];
  if (states.length !== count) throw new UsageError(`the state to resume from is of ${states.length} searches side by side, not ${count}: resume with the same settings, or start the attack anew`);
  return states.map(restoreRandom);
}

/** A generator's state as JSON. */
export function saveRandom(random: Generator): unknown {
  const { words, index, cachedNormal } = random.saveState();
  return { words: Array.from(words), index, ...(cachedNormal !== undefined && { cachedNormal }) };
}

/** The generator of `saveRandom`. @throws UsageError if the state is not one */
export function restoreRandom(state: unknown): Generator {
  const { words, index, cachedNormal } = (typeof state === "object" && state !== null ? state : {}) as Record<string, unknown>;
  if (!Array.isArray(words) || typeof index !== "number" || (cachedNormal !== undefined && typeof cachedNormal !== "number")) throw new UsageError("the state to resume from holds no random generator: start the attack anew");
  try {
    return new Generator().restoreState({ words: Uint32Array.from(words as number[]), index, cachedNormal });
  } catch (cause) {
    throw new UsageError("the state to resume from holds a broken random generator: start the attack anew", { cause });
  }
}
