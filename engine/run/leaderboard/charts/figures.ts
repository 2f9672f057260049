import type { Board } from "../columns.ts";
import { type Budget, WORK_BUDGETS, budgetCurve } from "./budget.ts";
import { forestPlot } from "./forest.ts";
import { heatMap } from "./heat-map.ts";
import { PAPER_THEME } from "./plot.ts";
import type { CellStatistics } from "../statistics.ts";

/** Rows that belong together, and what they are called. */
export interface Group {
  readonly name: string;
  readonly rows: readonly CellStatistics[];
}

/** The rows by checkpoint and concept, in their order. */
export function groupsOf(rows: readonly CellStatistics[]): Group[] {
  const groups = new Map<string, CellStatistics[]>();
  for (const row of rows) {
    const name = `${row.cell.checkpoint}, ${row.cell.concept}`;
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  return [...groups].map(([name, own]) => ({ name, rows: own }));
}

/** The rows by checkpoint, in their order. */
export function checkpointsOf(rows: readonly CellStatistics[]): Group[] {
  return [...new Set(rows.map((r) => r.cell.checkpoint))].map((name) => ({ name, rows: rows.filter((r) => r.cell.checkpoint === name) }));
}

/** Attackers that search, in their order: a curve's colour is its attacker's place among them. */
export function searchingAttackers(rows: readonly CellStatistics[], budgets: readonly Budget[]): string[] {
  return [...new Set(rows.filter((r) => budgets.some((b) => b.applies(r))).map((r) => r.cell.attacker))];
}

/** The report's figures as files of their own, for papers and slides: names below figures/ and SVG. */
export function figureFiles({ rows }: Board): Map<string, string> {
  const files = new Map<string, string>();
  if (rows.length === 0) return files;
  files.set("heat-map.svg", heatMap(rows, PAPER_THEME));
  files.set("forest-plot.svg", forestPlot(rows, PAPER_THEME));
  const attackers = searchingAttackers(rows, WORK_BUDGETS);
  for (const { name, rows: own } of groupsOf(rows)) {
    for (const budget of WORK_BUDGETS) {
      const svg = budgetCurve(own, attackers, budget, PAPER_THEME);
      if (svg !== "") files.set(`${fileName(`${name} ${budget.title}`)}.svg`, svg);
    }
  }
  return files;
}

/** Checkpoints and concepts are named by what a folder may be called; all else becomes a dash. */
function fileName(text: string): string {
  return text.replace(/[^\w.]+/g, "-");
}
