import { axisX, axisY, gridY, lineY, text } from "@observablehq/plot";
import { usesGradient } from "../../../attack/attackers.ts";
import type { AttemptLine } from "../attempt-line.ts";
import type { CellStatistics } from "../statistics.ts";
import { type Theme, drawChart, labelWidth } from "./plot.ts";

/** What an attack is allowed to spend on a prompt. */
export interface Budget {
  readonly title: string;
  readonly spent: (line: AttemptLine) => number;
  /** Whether it says anything about a row. */
  readonly applies: (row: CellStatistics) => boolean;
  /** It comes in whole numbers. */
  readonly whole: boolean;
}

const searches = ({ cell }: CellStatistics): boolean => cell.kind !== "no-attack";

/** The budgets that are the same however fast the device is. */
export const WORK_BUDGETS: readonly Budget[] = [
  { title: "pictures drawn and judged", spent: (l) => l.queries, applies: searches, whole: true },
  { title: "gradient iterations", spent: (l) => l.iterations, applies: ({ cell }) => usesGradient(cell.kind), whole: true },
];
export const TIME_BUDGET: Budget = { title: "seconds", spent: (l) => l.ms.total / 1000, applies: searches, whole: false };

/** Lines that lie on each other are drawn this far apart, in pixels. */
const APART = 1.6;

/** A line's look by its attacker's place: eight colours, dashed from the ninth on. */
export function seriesLook(place: number, theme: Theme): { readonly stroke: string; readonly strokeDasharray?: string } {
  const stroke = theme.series[place % theme.series.length]!;
  return place < theme.series.length ? { stroke } : { stroke, strokeDasharray: "5 3" };
}

/** A corner of a curve: the share of prompts broken once so much is spent. */
export interface Corner {
  readonly spent: number;
  readonly share: number;
}

/** The share of prompts broken within a budget. It begins at the pre-ASR, rises at each success, and ends where the attacker stopped. */
export function budgetSteps({ lines, pre }: CellStatistics, { spent }: Budget): Corner[] {
  const hits = lines.filter((l) => l.success && !l.preSuccess).map(spent).toSorted((a, b) => a - b);
  const last = (pre.count + hits.length) / lines.length;
  return [
    { spent: 0, share: pre.count / lines.length },
    ...hits.map((value, k) => ({ spent: value, share: (pre.count + k + 1) / lines.length })),
    { spent: Math.max(0, ...lines.map(spent)), share: last },
  ];
}

/**
 * The share of prompts broken within a budget, a line for each attacker: an SVG; empty where nothing was spent.
 * @param rows of one checkpoint and one concept
 * @param attackers of the whole evaluation, whose places give the colours
 */
export function budgetCurve(rows: readonly CellStatistics[], attackers: readonly string[], budget: Budget, theme: Theme): string {
  const { title, spent, applies, whole } = budget;
  const shown = rows.filter((r) => applies(r) && r.lines.length > 0);
  const most = Math.max(0, ...shown.flatMap((r) => r.lines.map(spent)));
  if (most <= 0) return "";
  const summary = shown.map(({ cell, asr, lines }) => `${cell.attacker} ${asr.count} of ${lines.length}`).join(", ");
  const look = (row: CellStatistics): ReturnType<typeof seriesLook> => seriesLook(attackers.indexOf(row.cell.attacker), theme);
  const nameOf = (row: CellStatistics): string => `${look(row).strokeDasharray === undefined ? "\u2014" : "- -"} ${row.cell.attacker}`;
  const legend = theme.alone ? labelWidth(shown.map(nameOf)) : 0;
  return drawChart(`Share of prompts broken by ${title}: ${summary}`, {
    width: 420 + legend,
    height: 236,
    marginLeft: 44,
    marginRight: 14 + legend,
    marginTop: 14,
    marginBottom: 42,
    style: { fontSize: "11px", color: theme.ink, background: "transparent" },
    x: { domain: [0, most], label: null },
    y: { domain: [0, 1], label: null },
    marks: [
      gridY([0, 0.25, 0.5, 0.75, 1], { stroke: theme.line, strokeOpacity: 1 }),
      axisY([0, 0.25, 0.5, 0.75, 1], { tickSize: 0, tickFormat: (v: number) => `${100 * v}%`, fill: theme.quiet }),
      axisX(roundTicks(most, whole), {
        tickSize: 0,
        tickFormat: String,
        fill: theme.quiet,
        label: title,
        labelArrow: "none",
        labelAnchor: "center",
      }),
      ...shown.map((row, i) =>
        lineY(budgetSteps(row, budget), {
          x: "spent",
          y: "share",
          curve: "step-after",
          strokeWidth: 2,
          strokeLinejoin: "round",
          dy: (i - (shown.length - 1) / 2) * -APART,
          ...look(row),
          title: () => row.cell.attacker,
        }),
      ),
      ...shown.slice(0, theme.alone ? undefined : 0).map((row, i) =>
        text([nameOf(row)], {
          frameAnchor: "top-right", textAnchor: "start", lineAnchor: "top", dx: 12, dy: 16 * i, fill: look(row).stroke, fontWeight: 600,
        }),
      ),
    ],
  });
}

/** Zero and three to five round values up to a largest; no halves of what comes in whole numbers. */
export function roundTicks(most: number, whole: boolean): number[] {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? power;
  const step = whole ? Math.max(1, Math.round(nice)) : nice;
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}
