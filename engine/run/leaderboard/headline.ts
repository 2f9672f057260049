import { isProbe } from "../../attack/attackers.ts";
import { percent } from "./columns.ts";
import type { CellEntry } from "./manifest.ts";
import { type Depth, type DepthOfConcept, depths, probeVerdicts } from "./probe-verdict.ts";
import type { CellStatistics } from "./statistics.ts";

export interface Headline {
  /** The outcome in one sentence, for the head of the report. */
  readonly sentence: string;
  /** What stands behind it. */
  readonly details: readonly string[];
  /** Some unlearned checkpoint drew what it should have forgotten, or a probe showed that it still knows it. */
  readonly broken: boolean;
}

const pairOf = ({ checkpoint, concept }: CellEntry): string => `${checkpoint}/${concept}`;

/** The outcome of an evaluation in words. The model before unlearning is not part of it. */
export function headlineOf(rows: readonly CellStatistics[]): Headline {
  const made = rows.filter((r) => !r.cell.baseline && r.lines.length > 0);
  const pairs = new Set(made.map(({ cell }) => pairOf(cell)));
  if (pairs.size === 0) return { sentence: "No unlearned checkpoint has been attacked yet", details: [], broken: false };
  const [cells, lines] = [made.map((r) => r.cell), made.flatMap((r) => r.lines)];
  // What a probe found counts only if it did better than its controls.
  const counts = new Set(probeVerdicts(cells, lines).filter(({ kind }) => kind === "remains").map(({ cell }) => cell.id));
  const telling = made.filter(({ cell }) => !isProbe(cell.kind) || counts.has(cell.id));
  const drawn = new Set(made.filter((r) => (isProbe(r.cell.kind) ? r.pre : r.asr).count > 0).map(({ cell }) => pairOf(cell)));
  const probed = depths(cells, lines);
  const held = probed.filter(({ depth }) => depth === "probe");
  const plain = new Set(made.filter((r) => r.pre.count > 0).map(({ cell }) => pairOf(cell)));
  const details = [
    `Without an attack, ${plain.size} of ${pairs.size} still drew it for some prompt.`,
    ...(probed.length > 0 ? [depthsText(probed)] : []),
    strongest(telling.filter((r) => r.asr.count > r.pre.count)) ?? "No attack brought back anything that the plain prompts did not draw. " +
      "That is a statement about these searches and their budgets, not a proof of forgetting.",
  ];
  return { sentence: sentence(made, pairs.size, drawn.size, held.length), details, broken: drawn.size + held.length > 0 };
}

/** @param held checkpoints of which only a probe shows it */
function sentence(made: readonly CellStatistics[], pairs: number, drawn: number, held: number): string {
  const concepts = new Set(made.map((r) => r.cell.concept));
  const [only] = concepts.size === 1 ? concepts : [];
  const what = only ?? "what they were made to forget";
  if (pairs === 1) {
    const does = drawn > 0 ? "can still draw" : held > 0 ? "has not forgotten" : "did not draw";
    return `The unlearned checkpoint ${does} ${only!}`;
  }
  return `${drawn + held} of ${pairs} unlearned checkpoints ${held > 0 ? "have not forgotten" : "can still draw"} ${what}`;
}

const GIVEN_UP: readonly (readonly [Depth, string])[] = [
  ["prompt", "for a typed prompt"],
  ["embedding", "for a searched embedding"],
  ["probe", "only to a probe, so the knowledge remains in the weights"],
  ["unmeasured", "to a probe no more surely than to its control, which is no verdict"],
];

/** "Of 6 that were probed, 1 gave it up for a typed prompt, 5 only to a probe, so the knowledge remains in the weights." */
function depthsText(probed: readonly DepthOfConcept[]): string {
  const count = (of: Depth): number => probed.filter(({ depth }) => depth === of).length;
  const given = GIVEN_UP.filter(([depth]) => count(depth) > 0);
  const parts = given.map(([depth, how], i) => `${count(depth)} ${i === 0 ? "gave it up " : ""}${how}`);
  const kept = count("none") > 0 ? [`${count("none")} did not give it up with this budget`] : [];
  return `Of ${probed.length} that ${probed.length === 1 ? "was" : "were"} probed, ${[...parts, ...kept].join(", ")}.`;
}

/** The attack with the highest ASR, and on how many checkpoints it helped. */
function strongest(attacked: readonly CellStatistics[]): string | undefined {
  const [best] = attacked.toSorted((a, b) => b.asr.rate - a.asr.rate || b.asr.low - a.asr.low);
  if (!best) return undefined;
  const { cell, asr, pre } = best;
  return `The strongest ${isProbe(cell.kind) ? "probe" : "attack"}, ${cell.attacker} on ${cell.checkpoint}, raised the success rate for ` +
    `${cell.concept} from ${percent(pre)} to ${percent(asr)} of ${asr.of} prompts.`;
}
