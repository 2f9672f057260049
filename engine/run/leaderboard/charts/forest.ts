import { axisX, axisY, dot, gridX, ruleY, text } from "@observablehq/plot";
import type { Rate } from "../../../metrics/intervals.ts";
import type { CellStatistics } from "../statistics.ts";
import { lineNames } from "./heat-map.ts";
import { type Theme, drawChart, labelWidth } from "./plot.ts";

const LINE = 24;

/** pre-ASR and ASR of every row with their 95% intervals, as an SVG: checkpoint by checkpoint, if they are of several. */
export function forestPlot(rows: readonly CellStatistics[], theme: Theme): string {
  const nameOf = lineNames(rows);
  const attackers = [...new Set(rows.map((r) => r.cell.attacker))];
  const left = labelWidth([...attackers, "attacker"]) + 6;
  // One axis for all: a place for each row, and one for each checkpoint's name before its rows.
  const places = new Map<string, string>();
  const heads: { readonly place: string; readonly name: string }[] = [];
  const several = new Set(rows.map(nameOf)).size > 1;
  const keyOf = (r: CellStatistics): string => `${nameOf(r)}\n${r.cell.attacker}`;
  for (const row of rows) {
    const name = nameOf(row);
    if (several && !places.has(name)) {
      heads.push({ place: name, name });
      places.set(name, name);
    }
    places.set(keyOf(row), row.cell.attacker);
  }
  const interval = (of: (r: CellStatistics) => Rate, color: string, dy: number, dash?: string): ReturnType<typeof ruleY> =>
    ruleY(rows, {
      y: keyOf,
      x1: (r: CellStatistics) => of(r).low,
      x2: (r: CellStatistics) => of(r).high,
      stroke: color,
      strokeWidth: 1.8,
      dy,
      ...(dash !== undefined && { strokeDasharray: dash }),
    });
  const summary = rows
    .map((r) => `${nameOf(r)} ${r.cell.attacker} ${percentOf(r.pre)} before, ${percentOf(r.asr)} after`)
    .join("; ");
  const legend = theme.alone ? 22 : 0;
  const below = { dy: 40, fontWeight: 600 } as const;
  return drawChart(`pre-ASR and ASR with 95% intervals: ${summary}`, {
    width: left + 320,
    height: LINE * places.size + 34 + legend,
    marginTop: 4,
    marginLeft: left,
    marginRight: 22,
    marginBottom: 26 + legend,
    style: { fontSize: "11px", color: theme.ink, background: "transparent" },
    x: { domain: [0, 1], label: null },
    y: { type: "point", domain: [...places.keys()], label: null, padding: 0.5 },
    marks: [
      gridX({ ticks: 5, stroke: theme.line, strokeOpacity: 1 }),
      axisX({ ticks: 5, tickSize: 0, tickFormat: (v: number) => `${100 * v}%`, fill: theme.quiet }),
      axisY({ tickSize: 0, fill: theme.ink, tickFormat: (key: string) => (key.includes("\n") ? (places.get(key) ?? "") : "") }),
      text(heads, { y: "place", text: "name", x: 0, textAnchor: "start", dx: -left + 4, fontWeight: 700, fill: theme.ink }),
      interval((r) => r.pre, theme.miss, 4, "3 2"),
      interval((r) => r.asr, theme.hit, -3),
      dot(rows, {
        y: keyOf,
        x: (r: CellStatistics) => r.pre.rate,
        r: 3.6,
        dy: 4,
        stroke: theme.miss,
        strokeWidth: 1.6,
        fill: theme.page,
        title: (r: CellStatistics) => `pre-ASR ${percentOf(r.pre)}`,
      }),
      dot(rows, {
        y: keyOf,
        x: (r: CellStatistics) => r.asr.rate,
        r: 4,
        dy: -3,
        fill: theme.hit,
        title: (r: CellStatistics) => `ASR ${percentOf(r.asr)}`,
      }),
      ...(theme.alone
        ? [
            text(["hollow, dashed: pre-ASR"], { ...below, frameAnchor: "bottom-left", textAnchor: "start", fill: theme.miss }),
            text(["filled, solid: ASR"], { ...below, frameAnchor: "bottom-right", textAnchor: "end", fill: theme.hit }),
          ]
        : []),
    ],
  });
}

function percentOf({ rate, low, high }: Rate): string {
  return Number.isFinite(rate) ? `${(100 * rate).toFixed(0)}% (${(100 * low).toFixed(0)} to ${(100 * high).toFixed(0)})` : "unknown";
}
