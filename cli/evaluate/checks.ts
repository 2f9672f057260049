import { existsSync } from "node:fs";
import { FormatError } from "../../engine/formats/errors.ts";
import { resolvePath } from "../../engine/platform/model-source-node.ts";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";
import { pick } from "../../engine/options/values.ts";
import { RUN_OPTIONS } from "../../engine/run/settings/option-table.ts";
import { type AttackSettings, newSettings } from "../../engine/run/settings/settings.ts";
import { parseLora } from "../../engine/run/settings/model-options.ts";
import { parseHubReference } from "../model-source.ts";
import type { Cell, Planned } from "./grid.ts";
import { whyNotAttackable } from "../../engine/attack/resolve.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { readPicture } from "../../engine/platform/picture/read-picture.ts";
import { judgeKey, judgesByOriginal } from "../../engine/run/settings/judge.ts";
import { openJudge } from "../attack/judge.ts";
import type { Context } from "../context.ts";
import { openTokenizer } from "../model.ts";

/** Settings that name files; the first may name models of the hub too, which nothing here asks for. */
const MODELS = [
  "model",
  "original",
  "unet",
  "textEncoder",
  "classifier",
  "judgeModel",
  "controlModel",
  "controlUnet",
] as const satisfies readonly (keyof AttackSettings)[];
const FILES = [
  "config", "from", "conceptPairs", "judgePrompts", "mask", "conceptPictures", "otherPictures", "controlPicture",
] as const satisfies readonly (keyof AttackSettings)[];

/**
 * Finds out before the first attempt whether every row has what its attacker needs and whether the files are there: an evaluation that
 * takes hours should not end at its last row for a name.
 * @param toCome files that will be made before the first attempt
 * @throws UsageError naming row and flag; FormatError naming file, setting and row
 */
export function requireUsable(cells: readonly Cell[], toCome: ReadonlySet<string> = new Set()): void {
  for (const { id, attempts } of cells) {
    const { settings } = attempts[0]!;
    try {
      newSettings(pick(RUN_OPTIONS, settings));
    } catch (error) {
      throw new UsageError(`${id}: ${errorMessage(error)}`, { cause: error });
    }
    const models = [
      ...MODELS.map((key) => [key, settings[key]] as const),
      ...parseLora(settings.lora ?? "").map(({ file }) => ["lora", file === "" ? null : file] as const),
    ];
    for (const [key, name] of models) {
      if (name !== null && !toCome.has(name) && !isThere(name) && !isElsewhere(name)) throw missing(key, name, id);
    }
    for (const key of FILES) if (settings[key] !== null && !isThere(settings[key])) throw missing(key, settings[key], id);
  }
}

function isThere(name: string): boolean {
  return existsSync(resolvePath(name));
}

/** Whether a model's name is none of a path here, as `resolveModel` sees it. */
function isElsewhere(name: string): boolean {
  return name.startsWith("synthetic:") || (resolvePath(name) === name && parseHubReference(name) !== undefined);
}

function missing(key: string, name: string, cell: string): FormatError {
  return new FormatError(name, `is not there; it is the ${key} of ${cell}`);
}

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
