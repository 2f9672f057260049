import { type GrowthLine, flaggedLines, growthCurves, workGrowth } from "./growth.ts";
import type { BenchResult, Growth } from "../results.ts";
import { figures } from "../statistics.ts";
import { formatBytes } from "../../engine/runtime/plan/estimate.ts";
import { line, page, paragraph, round, text } from "../svg.ts";

/** Growth of cost as SVG: a panel for each variable, time above and memory below, both against logarithms. */

const WIDTH = 860;
const MARGIN = 12;
const LEFT = 58;
const TOP = 84;
const STRIP = 150;
const STRIP_GAP = 46;
const PANEL_GAP = 58;

const VARIABLES: readonly Growth["by"][] = ["latent size", "batch", "tokens k", "vocabulary"];
const TITLES: Readonly<Record<Growth["by"], string>> = {
  "latent size": "latent height and width",
  batch: "batch",
  "tokens k": "adversarial tokens k",
  vocabulary: "vocabulary, tokens",
};

type Curve = readonly GrowthLine[];
interface Quantity {
  readonly title: string;
  readonly of: (l: GrowthLine) => number | undefined;
  /** By how much the arithmetic grows from a to b. */
  readonly arithmetic: (a: GrowthLine, b: GrowthLine) => number;
  readonly label: (value: number) => string;
}

const TIME: Quantity = { title: "time, ms", of: (l) => l.ms, arithmetic: (a, b) => workGrowth(a.row, b.row), label: String };
const MEMORY: Quantity = {
  title: "memory besides weights",
  of: (l) => l.growth.bytes,
  arithmetic: (a, b) => b.growth.arithmeticBytes / a.growth.arithmeticBytes,
  label: (v) => formatBytes(v).replace(".0 ", " "),
};

/**
 * Four panels. Points and lines are what was measured, hollow points what was estimated; a dotted line is the growth of the
 * arithmetic from the first of them: a line that stays on or below its dotted one costs what it must.
 * @throws RangeError if the result has no growth rows
 */
export function growthChartSvg(result: BenchResult): string {
  const curves = growthCurves(result).filter((c) => c.length > 1);
  if (curves.length === 0) throw new RangeError("this result has no curve of the growth suite");
  const names = [...new Set(curves.map(([first]) => first!.growth.curve))];
  const panelWidth = (WIDTH - LEFT - MARGIN - (VARIABLES.length - 1) * PANEL_GAP) / VARIABLES.length;
  const { stamp } = result;
  const title = "How cost grows, beside its arithmetic";
  const parts = [
    text(MARGIN, 22, title, "title"),
    text(MARGIN, 39, `${stamp.adapter.description} · ${stamp.date.slice(0, 10)}`, "note"),
    ...legend(names),
  ];
  VARIABLES.forEach((by, i) => {
    const x0 = LEFT + i * (panelWidth + PANEL_GAP);
    const of = curves.filter(([first]) => first!.growth.by === by);
    if (of.length === 0) return;
    [TIME, MEMORY].forEach((quantity, s) => {
      parts.push(...strip(of, quantity, names, x0, TOP + s * (STRIP + STRIP_GAP), panelWidth, s === 1 ? TITLES[by] : undefined, i === 0));
    });
  });
  const bottom = TOP + 2 * STRIP + STRIP_GAP + 52;
  const foot = paragraph(MARGIN, bottom, footnote(result, curves), 150);
  return page(WIDTH, bottom + foot.height, title, [...parts, ...foot.parts]);
}

function legend(names: readonly string[]): string[] {
  let x = MARGIN;
  const y = 57;
  const parts = names.flatMap((name, i) => {
    const drawn = [`<circle class="f${i}" cx="${round(x + 5)}" cy="${y - 4}" r="4"/>`, text(x + 13, y, name)];
    x += 30 + 6.1 * name.length;
    return drawn;
  });
  parts.push(`<circle class="s0 hollow" cx="${round(x + 5)}" cy="${y - 4}" r="3.5"/>`, text(x + 13, y, "Stable Diffusion 1.4, estimated"));
  x += 30 + 6.1 * 31;
  parts.push(`<line class="s0 law" x1="${round(x)}" y1="${y - 4}" x2="${round(x + 22)}" y2="${y - 4}"/>`, text(x + 28, y, "arithmetic"));
  return parts;
}

/** One quantity against one variable. */
function strip(
  curves: readonly Curve[],
  quantity: Quantity,
  names: readonly string[],
  x0: number,
  y0: number,
  width: number,
  variable: string | undefined,
  first: boolean,
): string[] {
  const drawn = curves.map((c) => c.filter((l) => quantity.of(l) !== undefined)).filter((c) => c.length > 0);
  if (drawn.length === 0) return [];
  const laws = drawn.map((c) => (c[0]!.growth.estimated ? 0 : quantity.of(c[0]!)! * quantity.arithmetic(c[0]!, c.at(-1)!)));
  const values = [...drawn.flat().map((l) => quantity.of(l)!), ...laws.filter((v) => v > 0)];
  const places = [...new Set(curves.flat().map((l) => l.growth.at))].toSorted((a, b) => a - b);
  const [low, high] = [Math.log2(Math.min(...values)) - 0.4, Math.log2(Math.max(...values)) + 0.4];
  const [from, to] = [Math.log2(places[0]!), Math.log2(places.at(-1)!)];
  const x = (at: number): number => x0 + 6 + ((Math.log2(at) - from) / Math.max(to - from, 1e-9)) * (width - 12);
  const y = (value: number): number => y0 + STRIP - ((Math.log2(value) - low) / (high - low)) * STRIP;
  const parts = [
    ...(quantity === MEMORY ? powersOfTwo(low, high) : roundNumbers(low, high)).flatMap((v) => [
      line(x0, y(v), x0 + width, y(v), "grid"),
      text(x0 - 4, y(v) + 3.5, quantity.label(v), "note", "end"),
    ]),
    line(x0, y0 + STRIP, x0 + width, y0 + STRIP, "axis"),
  ];
  if (first) parts.push(text(MARGIN, y0 - 9, quantity.title, "head"));
  let lastLabel = -Infinity;
  for (const at of places) {
    parts.push(`<line class="axis" x1="${round(x(at))}" y1="${y0 + STRIP}" x2="${round(x(at))}" y2="${y0 + STRIP + 3}"/>`);
    const label = at >= 1000 ? `${Math.round(at / 1024)}k` : String(at);
    if (x(at) - lastLabel < 18) continue;
    parts.push(text(x(at), y0 + STRIP + 15, label, "note", "middle"));
    lastLabel = x(at);
  }
  if (variable !== undefined) parts.push(text(x0 + width / 2, y0 + STRIP + 31, variable, "label", "middle"));
  for (const curve of drawn) parts.push(...draw(curve, quantity, names.indexOf(curve[0]!.growth.curve), x, y));
  return parts;
}

function draw(curve: Curve, quantity: Quantity, colour: number, x: (at: number) => number, y: (value: number) => number): string[] {
  const points = curve.map((l) => ({ at: l.growth.at, value: quantity.of(l)! }));
  const path = (of: typeof points): string => of.map((p, i) => `${i === 0 ? "M" : "L"}${round(x(p.at))} ${round(y(p.value))}`).join("");
  const { row: { model }, growth: { estimated } } = curve[0]!;
  const law = curve.map((l) => ({ at: l.growth.at, value: points[0]!.value * quantity.arithmetic(curve[0]!, l) }));
  return [
    ...(estimated || law.length < 2 ? [] : [`<path class="law s${colour}" d="${path(law)}"/>`]),
    `<path class="line s${colour}" d="${path(points)}"${estimated ? ` opacity=".55"` : ""}/>`,
    ...points.map(
      (p) =>
        `<circle class="${estimated ? `s${colour} hollow` : `f${colour}`}" cx="${round(x(p.at))}" cy="${round(y(p.value))}" ` +
          `r="2.6"><title>${curve[0]!.growth.curve}, ${model}, ${p.at}: ` +
            `${quantity === MEMORY ? formatBytes(p.value) : `${figures(p.value)} ms`}</title></circle>`,
    ),
  ];
}

/** Powers of two between two of their exponents, at most five. */
function powersOfTwo(low: number, high: number): number[] {
  const step = Math.max(1, Math.ceil((high - low) / 4));
  return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, i) => 2 ** ((Math.ceil(low / step) + i) * step));
}

/** Powers of ten between two powers of two; with twos and fives where they are few. */
function roundNumbers(low: number, high: number): number[] {
  const digits = high - low > 5 ? [1] : [1, 2, 5];
  const decades = Array.from({ length: 12 }, (_, i) => i - 4);
  return decades.flatMap((k) => digits.map((d) => Number(`${d}e${k}`))).filter((v) => Math.log2(v) >= low && Math.log2(v) <= high);
}

function footnote(result: BenchResult, curves: readonly Curve[]): string {
  const flagged = flaggedLines(curves);
  const worst = (of: (l: GrowthLine) => { readonly ratio: number } | undefined): number =>
    Math.max(0, ...curves.flat().map((l) => of(l)?.ratio ?? 0));
  const time = result.basis.kind === "cpu" ? `CPU time over ${result.basis.cores} cores` : "wall-clock time";
  return (
    `Fastest samples of ${time}. Arithmetic: for time the kernels' own counts of operations or bytes, whichever grew more; for memory ` +
      "what the ops' shapes need at once. " +
    `Largest growth over arithmetic: time ${figures(worst((l) => l.time))}, memory ${figures(worst((l) => l.memory))}; ` +
      `${flagged.length} of ${curves.flat().length} points over 1.25. ` +
    `UNet and iteration: ${[
      ...new Set(
        curves
          .flat()
          .filter((l) => !l.growth.estimated && l.growth.curve !== "search update")
          .map((l) => l.row.model),
      ),
    ].join(", ")}; search update: CLIP's token table. ${result.stamp.machine.cpu}, commit ${result.stamp.commit ?? "unknown"}.`
  );
}
