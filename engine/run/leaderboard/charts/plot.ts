/** Charts by Observable Plot, drawn without a browser: an SVG as text. */
import { type PlotOptions, plot } from "@observablehq/plot";
import { parseHTML } from "linkedom";

/** What a chart is painted with: values of CSS `color`. */
export interface Theme {
  readonly ink: string;
  readonly quiet: string;
  readonly line: string;
  readonly page: string;
  readonly hit: string;
  readonly miss: string;
  /** Of lines, told apart by place; a ninth is the first again, dashed. */
  readonly series: readonly string[];
  /** The chart is a file of its own, so it says itself what its marks mean. */
  readonly alone: boolean;
}

/** The page's own colours, which follow light, dark and print. */
export const PAGE_THEME: Theme = {
  ink: "var(--ink)",
  quiet: "var(--quiet)",
  line: "var(--line)",
  page: "var(--card)",
  hit: "var(--hit)",
  miss: "var(--miss)",
  series: Array.from({ length: 8 }, (_, i) => `var(--s${i})`),
  alone: false,
};

/** For files that go into a paper: plain colours on white. */
export const PAPER_THEME: Theme = {
  ink: "#1d2126",
  quiet: "#5c6570",
  line: "#dcd9d1",
  page: "#ffffff",
  hit: "#a3330b",
  miss: "#4a6b52",
  series: ["#1f77b4", "#d1560f", "#2c8a3c", "#8556b8", "#b0342f", "#8a6d1f", "#c2488f", "#4b5158"],
  alone: true,
};

/**
 * The chart as SVG with its size in pixels.
 * @param label what it shows, in words
 */
export function drawChart(label: string, options: PlotOptions): string {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const svg = plot({ ...options, document: document as unknown as Document, className: "plot" });
  // Plot's own rules belong to a page that has a plot and nothing else.
  svg.querySelector("style")?.remove();
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("aria-label", label);
  // Names of groups are not allowed in HTML without a role, and the chart's own says it all.
  for (const group of svg.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
  const links = [...svg.querySelectorAll("a")];
  // A picture may hold nothing that takes the focus; a group may.
  svg.setAttribute("role", links.length > 0 ? "group" : "img");
  for (const link of links) link.setAttribute("aria-label", link.querySelector("title")?.textContent ?? "");
  return svg.outerHTML;
}

/** Width of a label in pixels, at Plot's usual size. Generous: what is too long is cut. */
export function labelWidth(labels: readonly string[], size = 11): number {
  return Math.ceil(Math.max(0, ...labels.map((l) => l.length)) * size * 0.58) + 8;
}
