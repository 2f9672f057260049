import { axisX, axisY, cell, text } from "@observablehq/plot";
import { percent } from "../columns.ts";
import type { CellStatistics } from "../statistics.ts";
import { type Theme, drawChart, labelWidth } from "./plot.ts";

const CELL = { width: 76, height: 34 };
/** Letters of a column's name that fit its width. */
const LETTERS = 12;
const LINE = 12;
/** Of the colour of 100%, so that numbers on it stay readable. */
const DEEPEST = 0.55;

/** Name of a heat map's line: the checkpoint, and the concept where it has several. */
export function lineNames(rows: readonly CellStatistics[]): (row: CellStatistics) => string {
  const concepts = new Map<string, Set<string>>();
  for (const { cell: { checkpoint, concept } } of rows) {
    concepts.set(checkpoint, (concepts.get(checkpoint) ?? new Set()).add(concept));
  }
  return ({ cell: { checkpoint, concept } }) => ((concepts.get(checkpoint)?.size ?? 0) > 1 ? `${checkpoint}, ${concept}` : checkpoint);
}

/** What a row says, in words: "text-grad on esd-x, church: 8 of 10 prompts, 80.0% [49.0, 94.3]". */
export function rowText({ cell: { checkpoint, attacker, concept }, asr }: CellStatistics): string {
  return `${attacker} on ${checkpoint}, ${concept}: ${asr.count} of ${asr.of} prompts, ${percent(asr)}`;
}

/** A name in lines that fit a column, broken behind its hyphens. */
function inLines(name: string): string[] {
  const lines = [""];
  for (const part of name.split(/(?<=-)/)) {
    if (lines.at(-1) !== "" && lines.at(-1)!.length + part.length > LETTERS) lines.push("");
    lines.push(lines.pop()! + part);
  }
  return lines;
}

/**
 * ASR of every checkpoint under every attacker, as an SVG.
 * @param link where a cell leads to; left out, nowhere
 */
export function heatMap(rows: readonly CellStatistics[], theme: Theme, link?: (row: CellStatistics) => string): string {
  const nameOf = lineNames(rows);
  const names = [...new Set(rows.map(nameOf))];
  const attackers = [...new Set(rows.map((r) => r.cell.attacker))];
  const left = labelWidth(names);
  const top = 12 + LINE * Math.max(...attackers.map((name) => inLines(name).length));
  const place = { x: (r: CellStatistics): string => r.cell.attacker, y: nameOf };
  return drawChart(`ASR of ${names.length} checkpoints under ${attackers.length} attackers`, {
    width: left + CELL.width * attackers.length + 4,
    height: top + 4 + CELL.height * names.length,
    marginTop: top,
    marginLeft: left,
    marginRight: 4,
    marginBottom: 4,
    style: { fontSize: "11px", color: theme.ink, background: "transparent" },
    x: { domain: attackers, label: null, padding: 0.04 },
    y: { domain: names, label: null, padding: 0.08 },
    marks: [
      axisX({ anchor: "top", tickSize: 0, fill: theme.ink, tickFormat: (name: string) => inLines(name).join("\n") }),
      axisY({ tickSize: 0, fill: theme.ink }),
      cell(rows, {
        ...place,
        fill: theme.hit,
        fillOpacity: (r: CellStatistics) => DEEPEST * (r.asr.rate || 0),
        stroke: theme.line,
        title: rowText,
        ...(link && { href: link }),
      }),
      text(rows, {
        ...place,
        text: (r: CellStatistics) => (r.asr.of === 0 ? "-" : `${Math.round(100 * r.asr.rate)}%`),
        fill: theme.ink,
        fontSize: 13,
        pointerEvents: "none",
      }),
    ],
  });
}
