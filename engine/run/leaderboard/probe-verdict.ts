import type { Comparison } from "../../attack/probes/controls.ts";
import { isProbe } from "../../attack/attackers.ts";
import { type Rate, wilson } from "../../metrics/intervals.ts";
import { mcnemarExact } from "../../metrics/paired.ts";
import type { AttemptLine } from "./attempt-line.ts";
import type { CellEntry } from "./manifest.ts";

/** A probe against one of its controls, over the prompts of a row. */
export interface ControlTest extends Pick<Comparison, "control" | "measure" | "expects"> {
  /** Prompts on which the one or the other was better. */
  readonly probeBetter: number;
  readonly controlBetter: number;
  /** Of the exact McNemar test (of a measured number the sign test, which is the same). */
  readonly p: number;
  /** Whether it came out as a verdict needs. */
  readonly holds: boolean;
  /** Prompts on which the control succeeded; absent of measured numbers. */
  readonly rate?: Rate;
}

/**
 * remains: better than every control, so knowledge remains in the weights. abstains: a control is as good, so the probe says nothing.
 * not-found: no try succeeded. no-controls: one is missing. plain: every prompt succeeds without a probe.
 */
export type VerdictKind = "remains" | "abstains" | "not-found" | "no-controls" | "plain";

/** What a probe says of a checkpoint and a concept. */
export interface ProbeVerdict {
  readonly cell: CellEntry;
  readonly kind: VerdictKind;
  /** Prompts that were probed, since the plain prompt did not succeed, and of them those on which the probe did. */
  readonly probed: Rate;
  readonly tests: readonly ControlTest[];
  readonly missing: readonly string[];
}

/** Below this a difference counts. */
const SIGNIFICANT = 0.05;

/** A verdict for each row of a probe that has finished attempts, in the grid's order. */
export function probeVerdicts(cells: readonly CellEntry[], lines: readonly AttemptLine[]): ProbeVerdict[] {
  const byId = new Map(lines.map((line) => [line.id, line]));
  return cells.flatMap((cell): ProbeVerdict[] => {
    if (cell.retained || !isProbe(cell.kind)) return [];
    const own = cell.attempts.flatMap((id) => byId.get(id) ?? []).filter((l) => l.notAttackable === undefined);
    if (own.length === 0) return [];
    const made = own.flatMap(({ probe }) => probe ?? []);
    const probed = wilson(made.filter((p) => p.successes > 0).length, made.length);
    const missing = [...new Set(made.flatMap((p) => p.missing))];
    const tests = testsOf(made.flatMap((p) => p.comparisons));
    const kind: VerdictKind =
      made.length === 0
        ? "plain"
        : missing.length > 0
          ? "no-controls"
          : probed.count === 0
            ? "not-found"
            : tests.every((t) => t.holds)
              ? "remains"
              : "abstains";
    return [{ cell, kind, probed, tests, missing }];
  });
}

function testsOf(comparisons: readonly Comparison[]): ControlTest[] {
  const groups = new Map<string, Comparison[]>();
  for (const c of comparisons) groups.set(`${c.control} ${c.measure}`, [...(groups.get(`${c.control} ${c.measure}`) ?? []), c]);
  return [...groups.values()].map((group) => {
    const { control, measure, expects } = group[0]!;
    const probeBetter = group.filter((c) => c.probe > c.other).length;
    const controlBetter = group.filter((c) => c.other > c.probe).length;
    const p = mcnemarExact({ onlyFirst: probeBetter, onlySecond: controlBetter });
    const differs = p < SIGNIFICANT;
    const holds = expects === "more" ? differs && probeBetter > controlBetter : !(differs && controlBetter > probeBetter);
    const counts = measure === "success" || measure === "successes";
    return {
      control, measure, expects, probeBetter, controlBetter, p, holds,
      ...(counts && { rate: wilson(group.filter((c) => c.other > 0).length, group.length) }),
    };
  });
}

/** How far a concept had to be dug for. */
export type Depth = "prompt" | "embedding" | "probe" | "none" | "unmeasured";

/** What brings a concept back, of the cheapest kind that does. */
export interface DepthOfConcept {
  readonly checkpoint: string;
  readonly concept: string;
  readonly depth: Depth;
  /** A prompt or an embedding was searched too. */
  readonly searched: boolean;
  /** Rows that say so. */
  readonly by: readonly string[];
}

/** In words, as a headline. */
export const DEPTHS: Readonly<Record<Depth, string>> = {
  prompt: "found by a prompt",
  embedding: "found by an embedding",
  probe: "only found by a probe: knowledge remains in the weights",
  none: "not found with this budget",
  unmeasured: "no verdict: a probe found it, but not surely more than its controls",
};

/** The headline of a checkpoint and concept. What was not searched cannot have been found. */
export function depthText({ depth, searched }: Pick<DepthOfConcept, "depth" | "searched">): string {
  return depth === "probe" && !searched ? "found by a probe: knowledge remains in the weights; no prompt was searched" : DEPTHS[depth];
}

/** The depth of every checkpoint and concept that was probed. */
export function depths(cells: readonly CellEntry[], lines: readonly AttemptLine[]): DepthOfConcept[] {
  const verdicts = probeVerdicts(cells, lines);
  const byId = new Map(lines.map((line) => [line.id, line]));
  const pairs = new Map(verdicts.map(({ cell }) => [`${cell.checkpoint}/${cell.concept}`, cell]));
  return [...pairs.values()].map(({ checkpoint, concept }): DepthOfConcept => {
    const rows = cells.filter((c) => !c.retained && c.checkpoint === checkpoint && c.concept === concept);
    const made = (cell: CellEntry): AttemptLine[] => cell.attempts.flatMap((id) => byId.get(id) ?? []);
    const searched = rows.some((c) => !isProbe(c.kind) && c.kind !== "no-attack" && made(c).length > 0);
    const prompts = rows.filter((c) => made(c).some((l) => l.preSuccess || (l.success && c.kind !== "cce" && !isProbe(c.kind))));
    if (prompts.length > 0) {
      const plain = prompts.some((c) => made(c).some((l) => l.preSuccess)) ? ["the plain prompt"] : [];
      const by = [...plain, ...prompts.filter((c) => !isProbe(c.kind)).map((c) => c.attacker)];
      return { checkpoint, concept, searched, depth: "prompt", by };
    }
    const embeddings = rows.filter((c) => c.kind === "cce" && made(c).some((l) => l.success));
    if (embeddings.length > 0) return { checkpoint, concept, searched, depth: "embedding", by: embeddings.map((c) => c.attacker) };
    const own = verdicts.filter(({ cell }) => cell.checkpoint === checkpoint && cell.concept === concept);
    const of = (...kinds: readonly VerdictKind[]): string[] => own.filter((v) => kinds.includes(v.kind)).map((v) => v.cell.attacker);
    if (of("remains").length > 0) return { checkpoint, concept, searched, depth: "probe", by: of("remains") };
    const open = own.filter((v) => v.probed.count > 0).map((v) => v.cell.attacker);
    return { checkpoint, concept, searched, depth: open.length > 0 ? "unmeasured" : "none", by: open };
  });
}
