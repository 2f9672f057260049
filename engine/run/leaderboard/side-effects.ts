/**
 * What unlearning did to the rest of the model, by the measures of UnlearnCanvas (arXiv 2402.11846): UA, the share of prompts of the erased
 * concept whose
 * pictures are judged to be something else; IRA, the share of prompts of other concepts of its domain whose pictures are still judged
 * right; CRA, the same in other domains.
 */
import { type Rate, wilson } from "../../metrics/intervals.ts";
import type { AttemptLine } from "./attempt-line.ts";
import type { CellEntry } from "./manifest.ts";
import type { QualityScores } from "./quality.ts";

/** One checkpoint and one concept that it was made to forget; for the model before unlearning, one concept that it should know. */
export interface SideEffects {
  readonly checkpoint: string;
  readonly concept: string;
  /** Unlearning accuracy. */
  readonly ua: Rate;
  /** In-domain and cross-domain retain accuracy. */
  readonly ira: Rate;
  readonly cra: Rate;
  /** What its pictures of ordinary captions are worth. */
  readonly quality?: QualityScores | undefined;
}

/**
 * A row for each checkpoint and concept of the leaderboard; none where the evaluation measures neither retained concepts nor pictures.
 * What the checkpoint was made to forget is left out of IRA and CRA; concepts count by their labels.
 * @param scores of pictures, by checkpoint
 */
export function sideEffects(
  cells: readonly CellEntry[],
  lines: readonly AttemptLine[],
  scores: ReadonlyMap<string, QualityScores> = new Map(),
): SideEffects[] {
  const made = lines.filter((line) => line.notAttackable === undefined);
  const byId = new Map(made.map((line) => [line.id, line]));
  const retained = cells.filter((c) => c.retained);
  if (retained.length === 0 && scores.size === 0) return [];
  const pairs = new Map(cells.filter((c) => !c.retained).map((c) => [`${c.checkpoint}/${c.concept}`, c]));
  const attacked = new Set([...pairs.values()].map((c) => c.checkpoint));
  const none = wilson(0, 0);
  // The model before unlearning is attacked only where retained concepts are measured; its scores are what the others are compared with.
  const others = [...scores.values()].filter((s) => !attacked.has(s.checkpoint));
  const unattacked = others.map((quality): SideEffects => {
    const { checkpoint } = quality;
    return { checkpoint, concept: "", ua: none, ira: none, cra: none, quality };
  });
  const rows = [...pairs.values()].flatMap(({ checkpoint, concept, domain }): SideEffects[] => {
    const erased = cells.filter((c) => !c.retained && c.checkpoint === checkpoint && (!c.baseline || c.concept === concept));
    const forgotten = new Set(erased.map((c) => `${c.domain} ${c.label}`));
    // every attacker draws the same pictures of the plain prompts
    const plain = new Map(made.filter((l) => l.checkpoint === checkpoint && l.concept === concept).map((l) => [l.case, l.preSuccess]));
    const accuracy = (inDomain: boolean): Rate => {
      const seen = retained
        .filter((c) => c.checkpoint === checkpoint && (c.retained!.domain === domain) === inDomain)
        .flatMap((c) =>
          c.attempts.filter((_, i) => !forgotten.has(`${c.retained!.domain} ${c.retained!.labels[i]}`)).flatMap((id) => byId.get(id) ?? []),
        );
      return wilson(seen.filter((l) => l.preSuccess).length, seen.length);
    };
    const rates = {
      ua: wilson([...plain.values()].filter((drawn) => !drawn).length, plain.size),
      ira: accuracy(true),
      cra: accuracy(false),
    };
    const quality = scores.get(checkpoint);
    return quality || Object.values(rates).some((r) => r.of > 0) ? [{ checkpoint, concept, ...rates, quality }] : [];
  });
  return [...rows, ...unattacked];
}
