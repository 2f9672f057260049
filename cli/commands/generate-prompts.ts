import { type FileEmbedding, readLearnedEmbeddings, requireFitting } from "../../engine/loading/embedding-file.ts";
import { cutOffNote, holdsWord } from "../../engine/diffusion/learned-embedding.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { nodeFiles } from "../../engine/platform/node-files.ts";
import type { GenerateSettings } from "../../engine/diffusion/generate.ts";
import type { Context } from "../context.ts";
import type { GenerateFlags } from "./generate-flags.ts";
import { resolveWeights } from "../model-source.ts";
import { quoted } from "../../engine/run/text/format.ts";

/** A prompt of `generate`, and what it is called in warnings: "", "negative prompt: ", "case 3: ". */
export interface NamedPrompt {
  readonly text: string;
  readonly where: string;
}

/** The embeddings of --embedding. @throws FormatError for a missing file or one that cannot be used; HubError */
export async function openLearned(context: Context, names: readonly string[] = []): Promise<FileEmbedding[]> {
  return (await Promise.all(names.map(async (name) => readLearnedEmbeddings(nodeFiles, await resolveWeights(name, context))))).flat();
}

/**
 * Checks embeddings against the model, and warns of learned words that no prompt has and of prompts that are cut off.
 * @returns the embeddings whose words stand in a prompt
 * @throws InputError for an embedding of another width; UsageError for a learned word that would be cut off
 */
export function warnOfPrompts(
  context: Context,
  model: StableDiffusion,
  learned: readonly FileEmbedding[],
  prompts: readonly NamedPrompt[],
): FileEmbedding[] {
  requireFitting(model, learned);
  const used = learned.filter(({ name }) => prompts.some(({ text }) => holdsWord(text, name)));
  // An embedding that goes by two names is used by either.
  for (const { name, file, rows } of learned)
    if (!used.some((other) => other.rows === rows)) context.warn(`the learned word ${quoted(name)} of ${file} is in no prompt`);
  for (const { text, where } of prompts) {
    const note = cutOffNote(model, text, used);
    if (note !== undefined) context.warn(`${where}${note}`);
  }
  return used;
}

/** The texts of the flags and the rows with their names for warnings. */
export function namedPrompts(
  prompts: readonly { readonly prompt: string; readonly id?: string }[],
  negativePrompt: string | undefined,
): NamedPrompt[] {
  const own = prompts.map(({ prompt, id }) => ({ text: prompt, where: id === undefined ? "" : `case ${id}: ` }));
  return negativePrompt === undefined ? own : [...own, { text: negativePrompt, where: "negative prompt: " }];
}

/** Warns of flags that change nothing with these settings. */
export function warnOfUnused(context: Context, { eta, negativePrompt }: GenerateFlags, settings: readonly GenerateSettings[]): void {
  const [first] = settings;
  if (eta !== undefined && eta > 0 && settings.every(({ scheduler }) => scheduler !== "ddim"))
    context.warn(`--eta changes nothing: ${first?.scheduler} does not use it (only ddim)`);
  if (negativePrompt && settings.every(({ guidance }) => guidance <= 1))
    context.warn("--negative-prompt changes nothing: it needs a guidance above 1");
}
