import { type Ratio, peerName, ratiosToPeers, summarizeRatios } from "./ratios.ts";
import type { BenchResult, BenchRow } from "./results.ts";
import { figures } from "./table.ts";

/** A chart of one result as SVG, for light and dark pages alike. */

interface Bar {
  readonly label: string;
  /** Class of its colour. */
  readonly engine: string;
  readonly value: number;
  readonly text: string;
}
interface Group {
  readonly label: string;
  readonly bars: readonly Bar[];
}

const WIDTH = 820;
const LEFT = 230;
const RIGHT = 74;
const BAR = 9;
const GAP = 9;
const HEAD = 66;
const FOOT = 40;

/** Colour-blind safe (Okabe and Ito), ours first. */
const COLOURS: Readonly<Record<string, string>> = { lethe: "#0072b2", "ort-webgpu": "#e69f00", "jax-js": "#009e73", tfjs: "#cc79a7", roof: "#0072b2" };
const OTHER = "#8c8c8c";

export function escapeXml(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

/**
 * Bars for each op. With peers: speed relative to the best WebGPU peer of that op, which is 1. Without: the share of the rate that the adapter's own measured
 * peaks allow. Says the adapter, the date and what was left out.
 * @throws RangeError if the result has nothing to show
 */
export function chartSvg(result: BenchResult): string {
  const ratios = ratiosToPeers(result);
  const groups = ratios.length > 0 ? ratios.map(speedGroup) : rooflineGroups(result);
  if (groups.length === 0) throw new RangeError("this result has no row with numbers to draw");
  const { stamp } = result;
  const title = ratios.length > 0 ? "Speed of each op, relative to the best WebGPU peer on the same adapter" : "Share of what the adapter's measured peaks allow (roofline)";
  const means = summarizeRatios(ratios).map((s) => `${s.direction} ${figures(s.geometricMean)}x`);
  const subtitle = `${stamp.adapter.description}; ${stamp.date.slice(0, 10)}; ${String(stamp.options["weights"] ?? "f32")} weights${means.length > 0 ? `; geometric mean: ${means.join(", ")}` : ""}`;
  return draw(groups, title, subtitle, footnote(result), ratios.length > 0);
}

function speedGroup({ row, best, all }: Ratio): Group {
  const bestTime = all[best.engine]!;
  const bar = (engine: string, time: number): Bar => ({ label: engine, engine: peerName(engine), value: bestTime / time, text: `${figures(bestTime / time)}x` });
  // One bar for an engine: the best of its ways.
  const engines = new Map<string, number>();
  for (const [engine, time] of Object.entries(all)) if (peerName(engine) in COLOURS) engines.set(peerName(engine), Math.min(time, engines.get(peerName(engine)) ?? Infinity));
  return { label: rowLabel(row), bars: [bar("lethe", 1), ...[...engines].map(([engine, time]) => bar(engine, time)).toSorted((a, b) => b.value - a.value)] };
}

function rooflineGroups(result: BenchResult): Group[] {
  return result.rows.filter((r) => r.engine === "lethe" && r.rates && r.flops > 0).map((r) => {
    const share = r.rates!.shareOfRoofline;
    return { label: rowLabel(r), bars: [{ label: "lethe", engine: "lethe", value: share, text: `${(100 * share).toFixed(0)}%  ${figures(r.rates!.gflops)} GFLOP/s` }] };
  });
}

function rowLabel(row: BenchRow): string {
  return `${row.name}${row.direction === "forward" ? "" : " +grad"}`;
}

function footnote(result: BenchResult): string {
  const time = result.basis.kind === "cpu" ? `CPU time over ${result.basis.cores} cores` : "wall-clock time";
  const peers = result.peers.filter((p) => p.webgpu).map((p) => (p.absent === null ? `${p.name} ${p.version ?? ""}` : `${p.name} absent`));
  return `Medians of ${time}, engines interleaved in one process. ${peers.length > 0 ? `${peers.join(", ")}; ` : ""}${result.stamp.machine.cpu}, ${result.stamp.machine.cores} cores; commit ${result.stamp.commit ?? "unknown"}`;
}

function draw(groups: readonly Group[], title: string, subtitle: string, foot: string, ratios: boolean): string {
  const largest = Math.max(ratios ? 1 : 0, ...groups.flatMap((g) => g.bars.map((b) => b.value)));
  const plot = WIDTH - LEFT - RIGHT - (ratios ? 0 : 60);
  const x = (value: number): number => LEFT + (value / largest) * plot;
  const engines = [...new Set(groups.flatMap((g) => g.bars.map((b) => b.engine)))];
  const parts: string[] = [];
  let y = HEAD;
  for (const group of groups) {
    const height = group.bars.length * BAR;
    parts.push(`<text class="label" x="${LEFT - 8}" y="${round(y + height / 2 + 4)}" text-anchor="end">${escapeXml(group.label)}</text>`);
    group.bars.forEach((bar, i) => {
      const top = y + i * BAR;
      const width = Math.max(1, x(bar.value) - LEFT);
      parts.push(`<rect x="${LEFT}" y="${round(top)}" width="${round(width)}" height="${BAR - 1}" fill="${COLOURS[bar.engine] ?? OTHER}"><title>${escapeXml(`${group.label}: ${bar.label} ${bar.text}`)}</title></rect>`);
      if (bar.engine === "lethe") parts.push(`<text class="value" x="${round(LEFT + width + 4)}" y="${round(top + BAR - 1)}">${escapeXml(bar.text)}</text>`);
    });
    y += height + GAP;
  }
  const bottom = y;
  const one = ratios ? `<line class="one" x1="${round(x(1))}" y1="${HEAD - 6}" x2="${round(x(1))}" y2="${bottom - GAP + 2}"/>` : "";
  const legend = engines.map((e, i) => `<rect x="${LEFT + i * 110}" y="44" width="10" height="10" fill="${COLOURS[e] ?? OTHER}"/><text class="label" x="${LEFT + i * 110 + 15}" y="53">${escapeXml(e)}</text>`).join("");
  const total = bottom + FOOT;
  const style = "text{font:11px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}.note{font-size:10px;fill:#57606a}.value{font-size:10px}.one{stroke:#57606a;stroke-dasharray:3 3}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.one{stroke:#9198a1}}";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${round(total)}" width="${WIDTH}" height="${round(total)}" role="img" aria-label="${escapeXml(title)}">`,
    `<style>${style}</style>`,
    `<text class="title" x="8" y="18">${escapeXml(title)}</text>`,
    `<text class="note" x="8" y="34">${escapeXml(subtitle)}</text>`,
    ratios ? legend : "",
    one,
    ...parts,
    ...wrap(foot, 150).map((line, i) => `<text class="note" x="8" y="${round(bottom + 14 + 12 * i)}">${escapeXml(line)}</text>`),
    "</svg>",
    "",
  ].filter((line, i, all) => line !== "" || i === all.length - 1).join("\n");
}

/** Lines of at most `width` characters, broken at blanks. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function round(x: number): number {
  return Math.round(x * 10) / 10;
}
