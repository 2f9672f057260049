import { decimal, escape } from "./html.ts";

export interface CurveMark {
  /** After this many iterations. */
  readonly iteration: number;
  readonly success: boolean;
  readonly label: string;
}

const WIDTH = 860;
const HEIGHT = 260;
const KEYS = [
  ["loss", "loss of each iteration"],
  ["mean", "mean at a timestep"],
  ["miss", "picture judged: not the concept"],
  ["hit", "the concept"],
] as const;
const BOX = { left: 58, right: 14, top: 26, bottom: 38 };

/**
 * The loss of every iteration as an SVG: each as a thin line, the mean at each timestep as a thick one, a band per timestep, a mark per
 * judged picture.
 * @param losses of iterations 1, 2, ...; `timesteps` of each
 */
export function lossCurve(losses: readonly number[], timesteps: readonly number[], marks: readonly CurveMark[]): string {
  if (losses.length === 0) return "<p>There were no gradient iterations, so there is no loss to show.</p>";
  const finite = losses.filter((x) => Number.isFinite(x));
  const high = Math.max(...finite, 1e-6);
  const low = Math.min(...finite, high);
  const [floor, ceiling] = [Math.max(0, low - 0.08 * (high - low)), high + 0.05 * (high - low || high)];
  const x = (iteration: number): number => BOX.left + ((WIDTH - BOX.left - BOX.right) * iteration) / losses.length;
  const y = (loss: number): number => HEIGHT - BOX.bottom - ((HEIGHT - BOX.top - BOX.bottom) * (loss - floor)) / (ceiling - floor);
  const point = (i: number, loss: number): string => `${x(i).toFixed(1)},${y(loss).toFixed(1)}`;
  const bands = bandsOf(timesteps);
  const parts = [
    ...bands.map(({ start, end, timestep }, n) => band(x(start), x(end), timestep, n, bands.length)),
    ...ticks(floor, ceiling).map(
      (v) =>
        `<line class="grid" x1="${BOX.left}" x2="${WIDTH - BOX.right}" y1="${y(v).toFixed(1)}" y2="${y(v).toFixed(1)}"/><text ` +
          `class="tick" x="${BOX.left - 8}" y="${(y(v) + 4).toFixed(1)}" text-anchor="end">${tickText(v, ceiling - floor)}</text>`,
    ),
    `<polyline class="loss" points="${losses.map((l, i) => point(i + 0.5, Number.isFinite(l) ? l : ceiling)).join(" ")}"/>`,
    ...bands.map(({ start, end }) => {
      const those = losses.slice(start, end).filter((l) => Number.isFinite(l));
      const mean = those.reduce((a, b) => a + b, 0) / those.length;
      if (those.length === 0) return "";
      return `<line class="mean" x1="${x(start).toFixed(1)}" x2="${x(end).toFixed(1)}" y1="${y(mean).toFixed(1)}" ` +
        `y2="${y(mean).toFixed(1)}"><title>mean ${decimal(mean)}</title></line>`;
    }),
    ...marks.map(
      (m) =>
        `<circle class="${m.success ? "hit" : "miss"}" cx="${x(m.iteration).toFixed(1)}" cy="${HEIGHT - BOX.bottom}" ` +
          `r="5"><title>${escape(m.label)}</title></circle>`,
    ),
    `<text class="tick" x="${BOX.left}" y="${HEIGHT - 8}">iteration 1</text><text class="tick" x="${WIDTH - BOX.right}" ` +
      `y="${HEIGHT - 8}" text-anchor="end">${losses.length}</text>`,
  ];
  const legend = KEYS.map(([name, text]) => `<span class="entry"><span class="key ${name}"></span>${text}</span>`).join("");
  const summary = `Loss over ${losses.length} iterations, from ${decimal(losses[0]!)} to ${decimal(losses.at(-1)!)}`;
  return `<div class="scroll" role="region" aria-label="Loss curve" tabindex="0">
<svg class="curve" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${summary}">${parts.join("\n")}</svg></div>
<p class="legend">${legend}</p>`;
}

interface Band {
  readonly start: number;
  readonly end: number;
  readonly timestep: number;
}

/** Runs of iterations at one timestep. */
function bandsOf(timesteps: readonly number[]): Band[] {
  const bands: Band[] = [];
  for (let start = 0; start < timesteps.length; ) {
    let end = start;
    while (end < timesteps.length && timesteps[end] === timesteps[start]) end++;
    bands.push({ start, end, timestep: timesteps[start]! });
    start = end;
  }
  return bands;
}

function band(left: number, right: number, timestep: number, n: number, count: number): string {
  const text =
    count <= 16 || n % Math.ceil(count / 16) === 0
      ? `<text class="tick" x="${((left + right) / 2).toFixed(1)}" y="16" text-anchor="middle">t=${timestep}</text>`
      : "";
  return `<rect class="band ${n % 2 ? "odd" : "even"}" x="${left.toFixed(1)}" y="${BOX.top}" width="${(right - left).toFixed(1)}" ` +
    `height="${HEIGHT - BOX.top - BOX.bottom}"/>${text}`;
}

/** Three to six round values between two bounds. */
function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? power;
  const values: number[] = [];
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) values.push(v);
  return values;
}

function tickText(value: number, range: number): string {
  return value.toFixed(Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(range / 4)))));
}
