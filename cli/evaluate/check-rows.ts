import { whyNotAttackable } from "../../engine/attack/resolve.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { readPicture } from "../../engine/platform/picture/read-picture.ts";
import { judgeKey, judgesByOriginal } from "../../engine/run/settings/judge.ts";
import { openJudge } from "../attack/judge.ts";
import type { Context } from "../context.ts";
import { openTokenizer } from "../model-tokenizer.ts";
import type { Planned } from "./grid.ts";

/**
 * Checks every attempt before the first is made: that its target is a picture that can be read, that its judge opens and knows its label,
 * and how long its prompt is.
 * @returns the attempts, those whose prompts cannot be attacked with the reason
 * @throws FormatError or InputError naming the target or the judge's file that cannot be used
 */
export async function checkRows(context: Context, planned: readonly Planned[]): Promise<Planned[]> {
  const tokenizers = new Map<string, Tokenizer>();
  const pictures = new Set<string>();
  const judges = new Set<string>();
  const out: Planned[] = [];
  for (const one of planned) {
    context.signal.throwIfAborted();
    const { settings } = one.attempt;
    const tokenizer = tokenizers.get(settings.model) ?? (await openTokenizer(settings.model, context));
    tokenizers.set(settings.model, tokenizer);
    if (settings.target !== null && !pictures.has(settings.target)) {
      await readPicture(resolvePath(settings.target));
      pictures.add(settings.target);
    }
    const judge = judgeKey(settings);
    if (!judges.has(judge) && !judgesByOriginal(settings)) await (await openJudge(context, await context.device(), settings)).destroy();
    judges.add(judge);
    const { attacker, prompt, tokens, insert } = settings;
    const notAttackable = whyNotAttackable(tokenizer, { attacker, prompt, tokens, insert });
    const { dropped, tokenCount } = tokenizer.encodeFully(prompt);
    if (notAttackable === undefined && dropped.length > 0)
      context.warn(`${one.attempt.id}: the prompt has ${tokenCount} tokens, of which the last ${dropped.length} are cut off`);
    out.push({ ...one, notAttackable });
  }
  return out;
}
