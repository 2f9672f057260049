import { LEARNED_WORD } from "../attack/option-table.ts";
import type { TransferCandidate } from "../attack/options.ts";
import { FormatError } from "../formats/errors.ts";
import { parseJsonLines } from "../formats/text/jsonl.ts";

/** The fields of a line of attack.jsonl that matter here. */
interface Line {
  readonly prompt?: unknown;
  readonly seed?: unknown;
  readonly success?: unknown;
  readonly timestep?: unknown;
}

/**
 * The prompts of the text of an attack.jsonl (or several of them joined) that drew the concept on the model they were found on; the
 * original prompts, and prompts
 * with a learned word, which is not text, do not count. Each prompt and seed once; where some were found with the run's own seed, only
 * these: what was found for one
 * picture is tried on that picture.
 * @param file its name, for errors
 * @param seed of the run
 * @throws FormatError if there is none
 */
export function parseCandidates(file: string, text: string, seed: number): readonly TransferCandidate[] {
  const { records } = parseJsonLines(file, text);
  const found = new Map<string, TransferCandidate>();
  for (const record of records) {
    const { prompt, seed: foundWith, success, timestep } = (record ?? {}) as Line;
    if (success !== true || timestep === -1 || typeof prompt !== "string" || typeof foundWith !== "number" || prompt.includes(LEARNED_WORD))
      continue;
    found.set(JSON.stringify([prompt, foundWith]), { prompt, seed: foundWith });
  }
  if (found.size === 0) throw new FormatError(file, "holds no prompt that an attack found; give the attack.jsonl of a run that succeeded");
  const all = [...found.values()];
  const own = all.filter((candidate) => candidate.seed === seed);
  return own.length > 0 ? own : all;
}
