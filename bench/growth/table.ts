import { type Column, formatBytes, formatTable } from "../../engine/run/text/format.ts";
import { type GrowthLine, type GrowthStep, TOLERATED_GROWTH, flaggedLines, growthCurves } from "./growth.ts";
import type { BenchResult } from "../results.ts";
import { figures } from "../statistics.ts";

const COLUMNS: readonly Column[] = [
  { title: "what" },
  ...["at", "ms", "since", "grew", "arithmetic", "ratio", "memory", "since", "grew", "arithmetic", "ratio"].map((title) => ({
    title,
    right: true,
  })),
  { title: "" },
];

/**
 * A table for each variable: what each row's time and memory grew by, what the arithmetic did, and their ratio. Empty without growth rows.
 */
export function growthText(result: BenchResult): string {
  const curves = growthCurves(result);
  if (curves.length === 0) return "";
  const flagged = flaggedLines(curves).length;
  const parts = [...new Set(curves.map(([first]) => first!.growth.by))].map(
    (by) =>
      `cost by ${by}\n${formatTable(
        COLUMNS,
        curves
          .filter(([first]) => first!.growth.by === by)
          .flat()
          .map(cells),
      )}`,
  );
  const rows = curves.flat().length;
  return [
    ...parts,
    "ms: fastest sample. Arithmetic of time: operations or bytes, by the kernels' own counts, whichever grew more; of memory (without " +
      "weights): what the ops' shapes need at once. Growth is since that smaller row that makes its ratio largest.",
    flagged === 0
      ? `none of ${rows} rows grew more than ${TOLERATED_GROWTH}x its arithmetic`
      : `${flagged} of ${rows} rows grew more than ${TOLERATED_GROWTH}x their arithmetic: marked "over"`,
  ].join("\n\n");
}

function cells({ row, growth, ms, time, memory }: GrowthLine): string[] {
  const steps = (s: GrowthStep | undefined): string[] =>
    s ? [String(s.since), `${figures(s.grew)}x`, `${figures(s.arithmetic)}x`, figures(s.ratio)] : ["", "", "", ""];
  return [
    `${growth.curve}, ${row.model}${growth.estimated ? ", estimated" : ""}`,
    String(growth.at),
    ms === undefined ? "" : figures(ms),
    ...steps(time),
    formatBytes(growth.bytes),
    ...steps(memory),
    [time?.flagged === true ? "over in time" : "", memory?.flagged === true ? "over in memory" : ""].filter(Boolean).join(", "),
  ];
}
