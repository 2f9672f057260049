import { UsageError } from "../errors.ts";
import { Generator } from "./random.ts";

/** A generator's state as JSON. */
export function saveRandom(random: Generator): unknown {
  const { words, index, cachedNormal } = random.saveState();
  return { words: Array.from(words), index, ...(cachedNormal !== undefined && { cachedNormal }) };
}

/** The generator of `saveRandom`. @throws UsageError if the state is not one */
export function restoreRandom(state: unknown): Generator {
  const { words, index, cachedNormal } = (typeof state === "object" && state !== null ? state : {}) as Record<string, unknown>;
  if (!Array.isArray(words) || typeof index !== "number" || (cachedNormal !== undefined && typeof cachedNormal !== "number")) {
    throw new UsageError("the state to resume from holds no random generator: start anew");
  }
  try {
    return new Generator().restoreState({ words: Uint32Array.from(words as number[]), index, cachedNormal });
  } catch (cause) {
    throw new UsageError("the state to resume from holds a broken random generator: start anew", { cause });
  }
}
