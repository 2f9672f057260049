import { usesGradient } from "../../attack/attackers.ts";
import { escape } from "../report/html.ts";
import type { AttemptLine } from "./attempt-line.ts";
import type { CellStatistics } from "./statistics.ts";

/** What an attack is allowed to spend on a prompt. */
export interface Budget {
  readonly title: string;
  readonly spent: (line: AttemptLine) => number;
  /** Whether it says anything about a row. */
  readonly applies: (row: CellStatistics) => boolean;
}

const searches = ({ cell }: CellStatistics): boolean => cell.kind !== "no-attack";

/** The budgets that are the same however fast the device is. */
export const WORK_BUDGETS: readonly Budget[] = [
  { title: "pictures drawn and judged", spent: (l) => l.queries, applies: searches },
  { title: "gradient iterations", spent: (l) => l.iterations, applies: ({ cell }) => usesGradient(cell.kind) },
];
export const TIME_BUDGET: Budget = { title: "seconds", spent: (l) => l.ms.total / 1000, applies: searches };

const WIDTH = 420;
const HEIGHT = 236;
const BOX = { left: 44, right: 12, top: 14, bottom: 46 };
/** Lines that lie on each other are drawn this far apart, in pixels. */
const APART = 1.6;

/** A line's look by its attacker's place: eight colours, dashed from the ninth on. */
export function seriesClass(place: number): string {
  return `series s${place % 8}${place >= 8 ? " dashed" : ""}`;
}

/** What the lines stand for. */
export function budgetLegend(attackers: readonly string[]): string {
  return `<p class="legend">${attackers.map((name, i) => `<span class="entry"><svg class="sample" viewBox="0 0 22 4" ` +
    `aria-hidden="true"><line class="${seriesClass(i)}" x1="0" x2="22" y1="2" y2="2"/></svg>${escape(name)}</span>`).join("")}</p>`;
}

/**
 * The share of prompts broken within a budget, from the first picture on, a line for each attacker: an SVG. It begins at the pre-ASR and
 * ends where the attacker stopped.
 * @param rows of one checkpoint and one concept
 * @param attackers of the whole evaluation, whose places give the colours
 */
export function budgetCurve(rows: readonly CellStatistics[], attackers: readonly string[], { title, spent, applies }: Budget): string {
  const shown = rows.filter(applies);
  const most = Math.max(0, ...shown.flatMap((r) => r.lines.map(spent)));
  if (most <= 0) return "";
  const x = (value: number): number => BOX.left + ((WIDTH - BOX.left - BOX.right) * value) / most;
  const y = (share: number): number => HEIGHT - BOX.bottom - (HEIGHT - BOX.top - BOX.bottom) * share;
  const grid = [0, 0.25, 0.5, 0.75, 1].map(
    (v) =>
      `<line class="grid" x1="${BOX.left}" x2="${WIDTH - BOX.right}" y1="${n(y(v))}" y2="${n(y(v))}"/><text class="tick" ` +
        `x="${BOX.left - 6}" y="${n(y(v) + 4)}" text-anchor="end">${100 * v}%</text>`,
  );
  const ticks = roundTicks(most).map(
    (v) => `<text class="tick" x="${n(x(v))}" y="${HEIGHT - BOX.bottom + 22}" text-anchor="middle">${v}</text>`,
  );
  const lines = shown.map(({ cell, lines: own, pre, asr }, i) => {
    const shift = (i - (shown.length - 1) / 2) * APART;
    const at = (share: number): string => n(y(share) - shift);
    const hits = own.filter((l) => l.success && !l.preSuccess).map(spent).toSorted((a, b) => a - b);
    const end = Math.max(...own.map(spent));
    let path = `M${n(x(0))} ${at(pre.count / own.length)}`;
    hits.forEach((spentUntil, k) => (path += `H${n(x(spentUntil))}V${at((pre.count + k + 1) / own.length)}`));
    return `<path class="${seriesClass(attackers.indexOf(cell.attacker))}" d="${path}H${n(x(end))}"><title>${escape(cell.attacker)}: ` +
      `${asr.count} of ${own.length}</title></path>`;
  });
  const summary = `Share of prompts broken by ${title}: ` +
    `${shown.map(({ cell, asr, lines: own }) => `${cell.attacker} ${asr.count} of ${own.length}`).join(", ")}`;
  return `<svg class="curve budget" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" ` +
    `aria-label="${escape(summary)}">${[...grid, ...ticks, ...lines].join("\n")}<text class="tick" x="${(WIDTH + BOX.left) / 2}" ` +
      `y="${HEIGHT - 6}" text-anchor="middle">${escape(title)}</text></svg>`;
}

function n(value: number): string {
  return value.toFixed(1);
}

/** Zero and three to five round values up to a largest. */
function roundTicks(most: number): number[] {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? power;
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}
