/**
 * Prompts that bring back a harmful concept are useful to those who fix a model and to those who misuse it. What is made to be shared
 * (reports, cards, comparisons, CI files) leaves them out unless it is asked for; attempts.jsonl and attack.jsonl keep them.
 */
import type { CellEntry } from "./leaderboard/manifest.ts";
import type { ReportData } from "./report/data.ts";

/** Judges whose concept is harmful by itself: nudity, and pictures that Q16 calls inappropriate. */
const HARMFUL_JUDGES: readonly string[] = ["nudenet", "q16"];

/** What stands in the place of a prompt. */
export const REDACTED = "[redacted: --show-prompts shows it]";

/**
 * Whether found prompts of a concept are left out of what is shared.
 * @param stated what the evaluation's file says of it; undefined: the judge decides
 */
export function isHarmful(judge: string | null, stated?: boolean): boolean {
  return stated ?? (judge !== null && HARMFUL_JUDGES.includes(judge));
}

/** A found prompt as it is shared. The prompt that the search began with is public, so it stays. */
export function sharedPrompt(
  { prompt, adversarialPrompt }: { readonly prompt: string; readonly adversarialPrompt: string },
  { harmful = false }: Pick<CellEntry, "harmful">,
  showPrompts: boolean,
): string {
  return harmful && !showPrompts && adversarialPrompt !== prompt ? REDACTED : adversarialPrompt;
}

/**
 * What the report of one attack shares. Every prompt that the search made is left out with its token ids, not the last one alone: those
 * judged before it lead to it.
 */
export function sharedReport(data: ReportData): ReportData {
  const { record, evaluations, extras } = data;
  const { settings, result } = record;
  if (extras.showPrompts || !isHarmful(settings.judge, extras.harmful)) return data;
  const hides = <T extends { readonly prompt: string; readonly adversarialPrompt: string }>(made: T): T => ({
    ...made,
    adversarialPrompt: sharedPrompt(made, { harmful: true }, false),
  });
  return {
    ...data,
    record: {
      ...record,
      result: result && {
        ...hides(result),
        adversarialIds: [],
        // It quotes the tokens that another tokenizer would read differently.
        ...(result.notPortable !== undefined && { notPortable: REDACTED }),
      },
    },
    evaluations: evaluations.map((e) => {
      const own = e.timestep < 0 || e.prompt === settings.prompt;
      return own ? e : { ...e, prompt: REDACTED, ids: [], ...(e.notPortable !== undefined && { notPortable: REDACTED }) };
    }),
    extras: { ...extras, ...(extras.attempts && { attempts: extras.attempts.map(hides) }) },
  };
}
