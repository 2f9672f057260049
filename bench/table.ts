import { type Column, formatBytes, formatTable } from "../engine/run/text/format.ts";
import type { Comparison, ComparisonReport } from "./compare.ts";
import { growthText } from "./growth/table.ts";
import { type Ratio, peerName, ratiosToPeers, summarizeRatios } from "./ratios.ts";
import { type BenchResult, type BenchRow, rowMs } from "./results.ts";
import { figures } from "./statistics.ts";

const percent = (x: number): string => `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)}%`;

const COLUMNS: readonly Column[] = [
  { title: "what" },
  { title: "" },
  ...["ms", "min", "spread", "cpu ms", "GFLOP/s", "GB/s", "of peak", "of roof", "first ms", "disp", "pipes", "new", "memory"].map(
    (title) => ({ title, right: true }),
  ),
];

/** Our own rows as a table for each suite and model, what failed, and, if peers took part, the ratios. */
export function resultText(result: BenchResult): string {
  const own = result.rows.filter((r) => r.engine === "lethe" && !r.growth);
  const groups = new Map<string, BenchRow[]>();
  for (const row of own) {
    const key = `${row.suite}, ${row.model}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  const { peak, basis, stamp } = result;
  const peakText = `peak: ${figures(peak.gflops)} GFLOP/s${peak.gflopsF16 === undefined ? "" : ` (f16: ${figures(peak.gflopsF16)})`}, ` +
    `${figures(peak.gbps)} GB/s copied`;
  const basisText =
    basis.kind === "cpu"
      ? `; rates are by CPU time over ${basis.cores} cores, since the adapter runs on the CPU; ms and min are by the clock`
      : "; all by the clock";
  const parts = [`${stamp.adapter.description}\n${peakText}${basisText}`];
  for (const [title, rows] of groups) parts.push(`${title}\n${formatTable(COLUMNS, rows.map(rowCells))}`);
  const growth = growthText(result);
  if (growth !== "") parts.push(growth);
  const failed = result.rows.filter((r) => r.error !== undefined);
  const wrong = result.rows.filter((r) => r.wrong !== undefined);
  if (failed.length > 0) {
    parts.push(`no numbers for\n${failed.map((r) => `  ${r.engine}: ${r.name} ${r.direction}: ${r.error}`).join("\n")}`);
  }
  if (wrong.length > 0) {
    parts.push(
      "no bar, because the result differs from ours (ours is the tested " +
        `one)\n${wrong.map((r) => `  ${r.engine}: ${r.name} ${r.direction}: relative error ${r.wrong!.toExponential(1)}, ` +
          `${figures(rowMs(r, result.basis) ?? Number.NaN)} ms`).join("\n")}`,
    );
  }
  if (result.peers.length > 0) parts.push(ratioText(result));
  return parts.join("\n\n");
}

function rowCells(r: BenchRow): string[] {
  const head = [r.name, r.direction === "forward" ? "" : "+grad"];
  if (!r.wall || !r.cpu || !r.rates) return [...head, "failed"];
  const counted = r.flops > 0;
  return [
    ...head,
    figures(r.wall.median),
    figures(r.wall.min),
    percent(r.wall.spread),
    figures(r.cpu.median),
    counted ? figures(r.rates.gflops) : "-",
    counted ? figures(r.rates.gbps) : "-",
    counted ? percent(r.rates.shareOfPeak) : "-",
    counted ? percent(r.rates.shareOfRoofline) : "-",
    figures(r.firstRunMs ?? Number.NaN),
    String(r.dispatches ?? "-"),
    String(r.pipelines ?? "-"),
    String(r.newPipelines ?? "-"),
    formatBytes(r.peakBytes ?? 0),
  ];
}

/** Times of every engine as multiples of ours, and the geometric means against the best WebGPU peer of each op. */
export function ratioText(result: BenchResult): string {
  const ratios = ratiosToPeers(result);
  const versions = result.peers.map((p) =>
    p.absent === null
      ? `${p.name} ${p.version ?? ""}${p.webgpu ? "" : " (no WebGPU)"}${p.gradients ? "" : " (no gradients)"}`
      : `${p.name}: absent, ${p.absent}`,
  );
  if (ratios.length === 0) return `peers: ${versions.join("; ")}\nno op has numbers of a WebGPU peer`;
  // One column for an engine: the best of its ways to do an op.
  const engines = [...new Set(ratios.flatMap((r) => Object.keys(r.all).map(peerName)))];
  const bestOf = (r: Ratio, engine: string): number =>
    Math.min(...Object.entries(r.all).flatMap(([e, time]) => (peerName(e) === engine ? [time] : [])));
  const columns: Column[] = [
    { title: "time of each engine over ours" },
    { title: "" },
    { title: "ours, ms", right: true },
    ...engines.map((title) => ({ title, right: true })),
    { title: "best WebGPU peer", right: true },
    { title: "by the clock", right: true },
  ];
  const cells = (r: Ratio): string[] => [
    r.row.name,
    r.row.direction === "forward" ? "" : "+grad",
    figures(rowMs(r.row, result.basis)!),
    ...engines.map((e) => (Number.isFinite(bestOf(r, e)) ? `${figures(bestOf(r, e))}x` : "-")),
    `${figures(r.ratio)}x ${r.best.engine}`,
    `${figures(r.wallRatio)}x`,
  ];
  const summary = summarizeRatios(ratios).map(
    (s) =>
      `${s.direction}: ${figures(s.geometricMean)}x as fast as the best WebGPU peer of each op (geometric mean of ${s.count}; by the ` +
        `clock ${figures(s.geometricMeanWall)}x)${s.slower.length > 0 ? `; slower on ${s.slower.join(", ")}` : "; slower on none"}`,
  );
  return [formatTable(columns, ratios.map(cells)), summary.join("\n"), `peers: ${versions.join("; ")}`].join("\n\n");
}

/** What moved. */
export function comparisonText({ comparisons, warnings, meanRatio }: ComparisonReport): string {
  const moved = comparisons.filter((c) => c.verdict !== "same");
  const same = comparisons.length - moved.length;
  const order: readonly Comparison["verdict"][] = ["broken", "slower", "faster", "mended"];
  const rows = moved
    .filter((c) => order.includes(c.verdict))
    .toSorted((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || (b.ratio ?? 0) - (a.ratio ?? 0));
  const table = formatTable(
    [
      { title: "verdict" },
      { title: "what" },
      { title: "A, ms", right: true },
      { title: "B, ms", right: true },
      { title: "time B/A", right: true },
      { title: "noise", right: true },
    ],
    rows.map((c) => [
      c.verdict,
      c.key,
      figures(c.a?.wall?.median ?? Number.NaN),
      figures(c.b?.wall?.median ?? Number.NaN),
      c.ratio === undefined ? "-" : figures(c.ratio),
      c.noise === undefined ? "-" : percent(c.noise),
    ]),
  );
  const lines = warnings.map((w) => `warning: ${w}`);
  if (rows.length > 0) lines.push(table, "");
  for (const verdict of ["only in A", "only in B"] as const) {
    const count = comparisons.filter((c) => c.verdict === verdict).length;
    if (count > 0) lines.push(`${count} ${count === 1 ? "row is" : "rows are"} ${verdict} (--json lists them)`);
  }
  lines.push(
    `${same} of ${comparisons.length} rows did not move beyond ` +
      `noise${meanRatio === undefined ? "" : `; our rows together take ${figures(meanRatio)} times what they took in A (geometric mean)`}`,
  );
  return lines.join("\n");
}
