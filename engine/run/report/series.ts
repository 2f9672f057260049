import { decimal, escape } from "./html.ts";

/** Numbers that belong to steps, under one name. */
export interface Series {
  readonly name: string;
  /** Counted from 1, ascending. */
  readonly steps: readonly number[];
  readonly values: readonly number[];
}

const WIDTH = 860;
const HEIGHT = 220;
const BOX = { left: 62, right: 14, top: 12, bottom: 34 };
/** So many points of each line are drawn at most. */
const MOST_POINTS = 400;

/** Lines over steps as an SVG, each thin and its running mean thick. Values that are not finite are left out. */
export function seriesChart(title: string, series: readonly Series[], steps: number): string {
  const shown = series.map(finite).filter(({ values }) => values.length > 0);
  const all = shown.flatMap(({ values }) => values);
  if (all.length === 0) return "<p>There were no steps, so there is no loss to show.</p>";
  const [low, high] = [Math.min(...all.map((v) => v)), Math.max(...all)];
  const room = 0.05 * (high - low || Math.abs(high) || 1);
  const [floor, ceiling] = [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  const x = (step: number): number => BOX.left + ((WIDTH - BOX.left - BOX.right) * step) / steps;
  const y = (value: number): number => HEIGHT - BOX.bottom - ((HEIGHT - BOX.top - BOX.bottom) * (value - floor)) / (ceiling - floor);
  const line = ({ steps: at, values }: Series, kind: string, i: number): string =>
    `<polyline class="${kind} s${i % 4}" points="${at.map((step, n) => `${x(step).toFixed(1)},${y(values[n]!).toFixed(1)}`).join(" ")}"/>`;
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const value = floor + share * (ceiling - floor);
    const at = y(value).toFixed(1);
    return `<line class="grid" x1="${BOX.left}" x2="${WIDTH - BOX.right}" y1="${at}" y2="${at}"/>` +
      `<text class="tick" x="${BOX.left - 8}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${Number(value.toPrecision(3))}</text>`;
  });
  const axis = `<text class="tick" x="${BOX.left}" y="${HEIGHT - 8}">step 1</text>` +
    `<text class="tick" x="${WIDTH - BOX.right}" y="${HEIGHT - 8}" text-anchor="end">${steps}</text>`;
  const lines = shown.flatMap((one, i) => [line(thinned(one), "each", i), line(thinned(running(one)), "running", i)]);
  const legend = shown.map(
    ({ name, values }, i) =>
      `<span class="entry"><span class="key s${i % 4}"></span>` +
        `${escape(name)}: ${decimal(values[0]!)} at first, ${decimal(values.at(-1)!)} at last</span>`,
  );
  return (
    `<div class="scroll" role="region" aria-label="${escape(title)}, chart" tabindex="0">` +
    `<svg class="curve series" viewBox="0 0 ${WIDTH} ${HEIGHT}" ` +
    `role="img" aria-label="${escape(title)}">${[...grid, ...lines, axis].join("\n")}</svg></div>\n<p class="legend">${legend.join("")}</p>`
  );
}

function finite({ name, steps, values }: Series): Series {
  const kept = values.flatMap((value, i) => (Number.isFinite(value) ? [i] : []));
  return { name, steps: kept.map((i) => steps[i]!), values: kept.map((i) => values[i]!) };
}

/** The mean of each value and of those just before, a twentieth of all. */
function running({ name, steps, values }: Series): Series {
  const width = Math.max(1, Math.round(values.length / 20));
  let sum = 0;
  const means = values.map((value, i) => {
    sum += value - (i >= width ? values[i - width]! : 0);
    return sum / Math.min(width, i + 1);
  });
  return { name, steps, values: means };
}

function thinned({ name, steps, values }: Series): Series {
  const stride = Math.max(1, Math.ceil(values.length / MOST_POINTS));
  const keep = (_: number, i: number): boolean => i % stride === 0 || i === values.length - 1;
  return { name, steps: steps.filter(keep), values: values.filter(keep) };
}
