import { dirname, join } from "node:path";
import { type PromptCase, readPrompts, targetOf } from "../evaluate/prompts.ts";
import type { AttackFlags } from "./settings.ts";

/**
 * The rows of a universal attack's table, each with its picture's file.
 * @param targets folder of the pictures; null: imgs beside the table
 * @throws FormatError
 */
export async function readCases(prompts: string, targets: string | null): Promise<(PromptCase & { readonly target: string })[]> {
  const folder = targets ?? join(dirname(prompts), "imgs").replaceAll("\\", "/");
  return (await readPrompts(prompts)).map((row) => ({ ...row, target: targetOf(folder, row.id) }));
}

/**
 * Flags of a universal attack with its first case for what was not given: prompt, picture and seed then name the run.
 * @throws FormatError
 */
export async function withFirstCase(flags: AttackFlags): Promise<AttackFlags> {
  if (!flags.universal || flags.prompts === undefined) return flags;
  const [first] = await readCases(flags.prompts, flags.targets ?? null);
  return { prompt: first!.prompt, target: first!.target, seed: first!.seed, ...flags };
}
