import { type Ratio, peerName, ratiosToPeers, summarizeRatios } from "./ratios.ts";
import { type BenchResult, type BenchRow, rowMs } from "./results.ts";
import { figures } from "./statistics.ts";
import { bar, line, page, paragraph, text } from "./svg.ts";

/**
 * A chart of one result as SVG, for light and dark pages alike: each op beside the best peer, and models beside the adapter's own peaks.
 */

const WIDTH = 860;
const LEFT = 176;
const MARGIN = 12;
const ROW = 15;
const BAR = 10;
/** Between the two columns of bars; the values stand in it. */
const GUTTER = 118;
const GROUP_GAP = 7;
/** Bars longer than this many times the peer's speed are cut, with their value beside them. */
const LONGEST = 10;

const DIRECTIONS = ["forward", "forward+gradient"] as const;
type Direction = (typeof DIRECTIONS)[number];

interface Panel {
  readonly parts: readonly string[];
  readonly height: number;
}

/**
 * With peers: a line per op, its speed relative to the best WebGPU peer of that op (which is 1), forward and with gradient. Models, and ops
 * without peers: time, rate, and the share of what the adapter's own measured peaks allow. Says the adapter, the date, how time was taken
 * and who took part.
 * @throws RangeError if the result has nothing to show
 */
export function chartSvg(result: BenchResult): string {
  const ratios = ratiosToPeers(result);
  const own = result.rows.filter(
    (r) => r.engine === "lethe" && r.rates && r.flops > 0 && !r.growth && (ratios.length === 0 || r.suite !== "ops"),
  );
  if (ratios.length === 0 && own.length === 0) throw new RangeError("this result has no row with numbers to draw");
  const title =
    ratios.length > 0 ? "Speed against the best WebGPU engine for each op" : "Time, and share of what the adapter's measured peaks allow";
  const { stamp } = result;
  const head = [
    text(MARGIN, 22, title, "title"),
    text(MARGIN, 39, `${stamp.adapter.description} · ${String(stamp.options["weights"] ?? "f32")} · ${stamp.date.slice(0, 10)}`, "note"),
  ];
  let y = 62;
  const parts = [...head];
  for (const panel of [
    ...(ratios.length > 0 ? [(at: number) => speedPanel(ratios, at)] : []),
    ...(own.length > 0 ? [(at: number) => modelPanel(result, own, at)] : []),
  ]) {
    const { parts: drawn, height } = panel(y);
    parts.push(...drawn);
    y += height + 22;
  }
  const foot = paragraph(MARGIN, y, footnote(result, ratios.length > 0), 150);
  return page(WIDTH, y + foot.height, title, [...parts, ...foot.parts]);
}

/** Ops down, forward left and gradient right. */
function speedPanel(ratios: readonly Ratio[], top: number): Panel {
  const parts: string[] = [];
  const width = (WIDTH - LEFT - 2 * GUTTER) / 2;
  const longest = Math.min(LONGEST, Math.max(1.5, ...ratios.map((r) => r.ratio)));
  const x0 = (d: Direction): number => LEFT + DIRECTIONS.indexOf(d) * (width + GUTTER);
  const x = (d: Direction, value: number): number => x0(d) + (Math.min(value, longest) / longest) * width;
  const means = summarizeRatios(ratios);
  const names = new Map<string, Partial<Record<Direction, Ratio>>>();
  for (const r of ratios) {
    const key = `${r.row.model} | ${r.row.name}`;
    names.set(key, { ...names.get(key), [r.row.direction]: r });
  }
  const bodyTop = top + 30;
  let y = bodyTop;
  let group: string | undefined;
  for (const both of names.values()) {
    const { model, name } = (both.forward ?? both["forward+gradient"])!.row;
    const kind = name.split(" ")[0]!;
    if (group !== undefined && group !== `${model} ${kind}`) y += GROUP_GAP;
    if (group?.split(" ")[0] !== model) {
      if (group !== undefined) y += GROUP_GAP;
      parts.push(text(LEFT - 8, y + 11, MODEL_NAMES[model] ?? model, "head", "end"));
      y += ROW + 3;
    }
    group = `${model} ${kind}`;
    parts.push(text(LEFT - 8, y + BAR, name, "label", "end"));
    for (const direction of DIRECTIONS) {
      const r = both[direction];
      if (!r) continue;
      const cut = r.ratio > longest ? " ›" : "";
      parts.push(bar(x0(direction), y + 1, x(direction, r.ratio) - x0(direction), BAR, r.ratio < 1 ? "loss" : "f0", tip(r)));
      parts.push(text(x(direction, r.ratio) + 5, y + BAR, `${cut}${times(r.ratio)}`, "value"));
      parts.push(text(x0(direction) + width + GUTTER - 10, y + BAR, peerName(r.best.engine), "note", "end"));
    }
    y += ROW;
  }
  const marks = DIRECTIONS.flatMap((direction) => {
    const mean = means.find((m) => m.direction === direction);
    if (!mean) return [];
    const heading = `${direction === "forward" ? "Forward" : "With gradient"}: ${times(mean.geometricMean)} (geometric mean of ` +
      `${mean.count})`;
    return [
      text(x0(direction), top + 2, heading, "head"),
      text(x(direction, 1), bodyTop - 8, "1×", "note", "middle"),
      line(x(direction, 1), bodyTop - 4, x(direction, 1), y, "axis"),
      ...(mean.geometricMean <= longest
        ? [line(x(direction, mean.geometricMean), bodyTop - 4, x(direction, mean.geometricMean), y, "mark")]
        : []),
      text(x0(direction) + width + GUTTER - 10, bodyTop - 8, "best peer", "note", "end"),
    ];
  });
  return { parts: [...marks, ...parts], height: y - top };
}

const MODEL_NAMES: Readonly<Record<string, string>> = {
  sd14: "Stable Diffusion 1.4",
  emoji: "bundled model",
  "synthetic:sd14": "Stable Diffusion 1.4",
};

function times(ratio: number): string {
  return `${ratio.toFixed(ratio < 9.95 ? 2 : 1)}×`;
}

function tip({ row, all }: Ratio): string {
  return `${row.name} ${row.direction}: ${Object.entries(all)
    .map(([engine, time]) => `${engine} takes ${figures(time)} times as long`)
    .join(", ")}`;
}

/** Models: time and rate in words, the share of the roofline as a bar. */
function modelPanel(result: BenchResult, rows: readonly BenchRow[], top: number): Panel {
  const left = 300;
  const width = WIDTH - left - 190;
  // A model that all rows are of is named once.
  const models = new Set(rows.map((r) => MODEL_NAMES[r.model] ?? r.model));
  const [only] = models.size === 1 ? models : [];
  const of = (row: BenchRow): string => (only === undefined ? `${MODEL_NAMES[row.model] ?? row.model}, ` : "");
  const parts = [text(MARGIN, top + 2, `${only ?? "Whole models and ops alone"}: share of the adapter's measured roofline`, "head")];
  let y = top + 16;
  let group: string | undefined;
  for (const row of rows) {
    const key = `${row.suite} ${row.model}`;
    if (group !== undefined && group !== key) y += GROUP_GAP;
    group = key;
    const share = Math.min(1, row.rates!.shareOfRoofline);
    parts.push(
      text(
        left - 8,
        y + BAR,
        `${of(row)}${row.name}${row.direction === "forward" ? "" : " +grad"}`,
        "label",
        "end",
      ),
    );
    parts.push(bar(left, y + 1, width, BAR, "track"), bar(left, y + 1, share * width, BAR, "f0", `${row.name} ${row.direction}`));
    parts.push(
      text(
        left + width + 8,
        y + BAR,
        `${(100 * row.rates!.shareOfRoofline).toFixed(0)}% · ${figures(rowMs(row, result.basis)!)} ms · ` +
          `${figures(row.rates!.gflops)} GFLOP/s`,
        "value",
      ),
    );
    y += ROW;
  }
  return { parts, height: y - top };
}

function footnote(result: BenchResult, withPeers: boolean): string {
  const time =
    result.basis.kind === "cpu" ? `CPU time over ${result.basis.cores} cores, since the adapter runs on the CPU` : "wall-clock time";
  const peers = result.peers.filter((p) => p.webgpu).map((p) => (p.absent === null ? `${p.name} ${p.version ?? ""}` : `${p.name} absent`));
  const { machine, commit, versions } = result.stamp;
  const peak = `Peaks: ${figures(result.peak.gflops)} GFLOP/s, ${figures(result.peak.gbps)} GB/s.`;
  const stamp = `${machine.cpu}, ${machine.cores} cores; lethe ${versions.lethe}, commit ${commit ?? "unknown"}.`;
  const how = withPeers ? "; engines interleaved in one process on the same shapes and numbers, each result checked against ours" : "";
  return `Medians of ${time}${how}.${peers.length > 0 ? ` ${peers.join(", ")}.` : ""} ${peak} ${stamp}`;
}
